from __future__ import annotations

import msgspec

from banger.commands.context import Context
from banger.commands.declare import Argument, Command

BASH = r"""# bash completion of banger. To use it:  source <(banger completion bash)
_banger() {
    local IFS=$'\n'
    COMPREPLY=($(banger complete --shell bash --breaks "$COMP_WORDBREAKS" \
        -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -o nospace -F _banger banger
"""

ZSH = r"""#compdef banger
# zsh completion of banger. To use it:  source <(banger completion zsh)
_banger() {
    local whole text help
    local -a whole_texts whole_shown open_texts open_shown
    while IFS=$'\t' read -r whole text help; do
        if [[ $whole == whole ]]; then
            whole_texts+=("$text") whole_shown+=("$text${help:+  -- $help}")
        else
            open_texts+=("$text") open_shown+=("$text${help:+  -- $help}")
        fi
    done < <(banger complete --shell zsh -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)
    (( $#whole_texts )) && compadd -l -d whole_shown -a whole_texts
    (( $#open_texts )) && compadd -l -S '' -d open_shown -a open_texts
    return 0
}
if (( ! $+functions[compdef] )); then
    autoload -Uz compinit && compinit -D
fi
compdef _banger banger
"""

FISH = r"""# fish completion of banger. To use it:  banger completion fish | source
complete -c banger -f -a '(banger complete --shell fish -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
"""  # noqa: E501

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


class Script(msgspec.Struct, frozen=True):
    shell: str
    script: str


def run(context: Context, *, shell: str) -> None:
    script = SCRIPTS[shell]
    context.document(Script(shell, script))
    context.line(script.rstrip("\n"))


COMMAND = Command(
    path=("completion",),
    summary="Print a script that completes banger's commands in your shell.",
    details="Names of VMs and images are asked of the daemon at each Tab; what plugins add is "
    "completed too. The first lines of the script tell how it is used.",
    run=run,
    reply=Script,
    arguments=(Argument("shell", "bash, zsh or fish.", choices=tuple(SCRIPTS)),),
    examples=("banger completion bash", "banger completion fish"),
)
