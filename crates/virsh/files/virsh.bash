# Completion of virsh in bash. What can follow is known to virsh itself: this only finds out what it is to be asked.
_virsh()
{
    # bash has split the line at colons and signs of equality too, which are parts of URIs and options here.
    local line=${COMP_LINE:0:COMP_POINT} words=() options=() i last cur
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    last=$((${#words[@]} - 1))
    cur=${words[last]}
    COMPREPLY=()

    # The program's own options stand before the command. Those about the connection are for the question too.
    for ((i = 1; i < last; i++)); do
        case ${words[i]} in
        -c | --connect)
            # The URI itself is being typed.
            ((i + 1 == last)) && return
            options+=(-c "${words[i + 1]}")
            ((i++))
            ;;
        --connect=*) options+=("${words[i]}") ;;
        -r | --readonly) options+=(-r) ;;
        -d | --debug | -e | --escape | -k | --keepalive-interval | -K | --keepalive-count | -l | --log | --output)
            ((i + 1 == last)) && return
            ((i++))
            ;;
        -*) ;;
        *) break ;;
        esac
    done

    if ((i == last)) && [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '--connect --debug --escape --help --keepalive-interval --keepalive-count
            --log --output --quiet --readonly --timing --version' -- "$cur")
        return
    fi
    mapfile -t COMPREPLY < <("${words[0]}" -q "${options[@]}" complete -- "${words[@]:i}" < /dev/null 2> /dev/null)
    # virsh ends what it prints with an empty line.
    for i in "${!COMPREPLY[@]}"; do
        [[ -z ${COMPREPLY[i]} ]] && unset "COMPREPLY[i]"
    done
    [[ ${COMPREPLY[0]-} == */ ]] && compopt -o nospace 2> /dev/null
    # Readline puts the answer in the place of what stands behind the last colon.
    declare -F __ltrim_colon_completions > /dev/null && __ltrim_colon_completions "$cur"
}
complete -F _virsh virsh
