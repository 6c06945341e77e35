# Completes `aegisrt` in fish; write it to ~/.config/fish/completions/aegisrt.fish

function __aegisrt_complete
    set -l before (commandline -opc)
    aegisrt __complete $before[2..-1] (commandline -ct) 2>/dev/null
end

complete -c aegisrt -f -a '(__aegisrt_complete)'
