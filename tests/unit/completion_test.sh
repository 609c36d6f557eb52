#!/bin/bash
# What bash completes after mtastsctl.
# Usage: completion_test.sh [path of mtastsctl [path of the completion]]
real=$(realpath "${1:-./src/mtastsctl}")
. "${2:-${srcdir:-.}/src/ctl/completion/mtastsctl}" || exit 99
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
failures=0

# The real one, but for the list, which wants a daemon.
cat >"$tmp/ctl" <<END
#!/bin/sh
[ "\$*" != 'list --json' ] || { printf '{"entries":[\n{"domain":"a.test","verdict":"none"},\n{"domain":"b.test"}\n]}\n'; exit; }
exec "$real" "\$@"
END
chmod +x "$tmp/ctl"

# expect WANTED WORDS...: the last word is completed; WANTED begins with + when others may be there as well
expect() {
	local wanted=$1 got
	shift
	COMP_WORDS=(mtastsctl "$@")
	COMP_CWORD=$#
	_mtastsctl "$tmp/ctl" "${*: -1}" "${COMP_WORDS[COMP_CWORD - 1]}"
	got=" ${COMPREPLY[*]} "
	case $wanted in
	+*) [[ $got == *" ${wanted#+} "* ]] && return ;;
	*) [[ $got == " $wanted " || $got == "  " && -z $wanted ]] && return ;;
	esac
	echo "FAIL: mtastsctl $*: $got, want $wanted"
	failures=$((failures + 1))
}

# every command that the program knows by its help, and nothing else
for command in query list refresh forget held status lookup doctor parse-record lint match; do
	expect +$command ''
done
expect parse-record pa
expect 'list lint' li
expect status --json stat
expect --json query --js
expect --json --js
expect +-c -
expect +--submit-cf doctor --s
expect 'a.test b.test' query ''
expect b.test refresh b
expect a.test --json forget a
expect '' status ''
expect '' list l
touch "$tmp/policy.txt"
cd "$tmp" || exit 99
expect policy.txt lint p
expect policy.txt -c p
expect policy.txt doctor --cf p
[ "$failures" -eq 0 ]
