#compdef aegisrt
# Completes `aegisrt` in zsh; load it after compinit with: eval "$(aegisrt completion zsh)"

_aegisrt() {
    local line text
    local -a open_texts open_shown whole_texts whole_shown
    for line in "${(@f)$(aegisrt __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        text=${line%%$'\t'*}
        if [[ $text == *[=./] ]]; then
            open_texts+=("$text")
            open_shown+=("${line//$'\t'/  -- }")
        else
            whole_texts+=("$text")
            whole_shown+=("${line//$'\t'/  -- }")
        fi
    done
    (( ${#open_texts} )) && compadd -l -S '' -d open_shown -a open_texts
    (( ${#whole_texts} )) && compadd -l -d whole_shown -a whole_texts
    return 0
}

compdef _aegisrt aegisrt
