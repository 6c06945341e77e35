# Completes `aegisrt` in bash; load it with: eval "$(aegisrt completion bash)"

_aegisrt() {
    local IFS=$' \t\n' word rest=${COMP_LINE:0:COMP_POINT} before glued=() index
    # COMP_WORDS breaks `env=prod` at `=`: join again the pieces that no blank separates on the line.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        ((index == COMP_CWORD)) && word=$rest && word=${word#"${word%%[![:space:]]*}"}
        before=${rest%%"$word"*}
        if [[ -n $before || $rest == [[:space:]]* || index -eq 0 ]]; then
            glued+=("$word")
        else
            glued[${#glued[@]} - 1]+=$word
        fi
        rest=${rest#"$before$word"}
    done
    local current=${glued[${#glued[@]} - 1]} done_part= breaks= line candidate
    # readline replaces the text after the last break, unless a quote is open.
    if [[ $current != [\'\"]* ]]; then
        [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
        [[ $COMP_WORDBREAKS == *=* ]] && breaks+==
        [[ -n $breaks ]] && done_part=${current%"${current##*[$breaks]}"}
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        candidate=${line%%$'\t'*}
        candidate=${candidate#"$done_part"}
        [[ $current == [\'\"]* ]] || printf -v candidate %q "$candidate"
        COMPREPLY+=("${candidate/#\\~/\~}")
    done < <(aegisrt __complete "${glued[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _aegisrt aegisrt
