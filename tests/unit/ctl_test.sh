#!/bin/sh
# The command line of mtastsctl: what needs no daemon, the JSON that scripts read, and the exit codes.
# Usage: ctl_test.sh [path of mtastsctl]
ctl=${1:-./src/mtastsctl}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
failures=0 n=0

# expect CODE STDOUT ARGS...: standard input comes from $tmp/in; STDOUT '*': anything
expect() {
	want_code=$1 want=$2
	shift 2
	n=$((n + 1))
	"$ctl" "$@" <"$tmp/in" >"$tmp/out" 2>"$tmp/err"
	code=$?
	if [ "$code" -ne "$want_code" ]; then
		echo "FAIL: mtastsctl $*: exit $code, want $want_code"
	elif [ "$want" != '*' ] && [ "$(cat "$tmp/out")" != "$want" ]; then
		echo "FAIL: mtastsctl $*: printed $(cat "$tmp/out"), want $want"
	else
		return 0
	fi
	sed 's/^/  stderr: /' "$tmp/err"
	failures=$((failures + 1))
}

# says WORD: the last command's standard error has it
says() {
	n=$((n + 1))
	grep -q -- "$1" "$tmp/err" && return 0
	echo "FAIL: \"$1\" is not in: $(cat "$tmp/err")"
	failures=$((failures + 1))
}

# shows WORD: the last command's standard output has it
shows() {
	n=$((n + 1))
	grep -q -- "$1" "$tmp/out" && return 0
	echo "FAIL: \"$1\" is not in: $(cat "$tmp/out")"
	failures=$((failures + 1))
}

input() {
	printf "$@" >"$tmp/in"
}

input ''

# --- the command line ---
expect 64 ''
expect 64 '' nonsense
says nonsense
expect 64 '' --nonsense
expect 64 '' match one
says 'match PATTERN HOST'
expect 64 '' match one two three
expect 64 '' query x --all
expect 64 '' refresh
expect 64 '' refresh x --all
expect 64 '' refresh x --once
expect 64 '' refresh --all --once
expect 64 '' refresh --all --from-queue
expect 64 '' status --once
expect 64 '' explain
expect 65 '' explain host
expect 78 '' -c "$tmp/absent.conf" explain example.com
expect 64 '' status --cf x
expect 64 '' status --snippet
expect 64 '' check
expect 64 '' check x --all
expect 64 '' lint --require -
expect 0 '*' --help
shows parse-record
shows '--submit-cf'
expect 0 '*' --version
shows '^mtastsctl [0-9]'

# --- match ---
expect 0 '*.example.com matches mx1.example.com' match '*.example.com' MX1.example.com.
expect 1 '*.example.com does not match example.com' match '*.example.com' example.com
expect 1 '*' match '*.example.com' a.b.example.com
expect 0 '*' match mx.example.com mx.example.com --json
shows '"match":true'
expect 1 '*' --json match mx.example.com mx.example.net
shows '"match":false'
expect 1 '*' match '*' example.com
shows '^no match: .'
expect 1 '*' match 'a.*.example.com' a.b.example.com
expect 1 '*' match '*.example.com' ''

# --- parse-record ---
input 'v=STSv1; id=20160831085700Z;\n'
expect 0 '{"result":"policy","id":"20160831085700Z","reason":null}' parse-record --json -
expect 0 'policy: id 20160831085700Z' parse-record -
cp "$tmp/in" "$tmp/record"
expect 0 '{"result":"policy","id":"20160831085700Z","reason":null}' --json parse-record "$tmp/record"
input '"v=STSv1; " "id=1\\059"\r\n"v=spf1 -all"\r\n\r\n'
expect 0 '{"result":"policy","id":"1","reason":null}' parse-record - --json
input 'v=STSv1; id=1;\nv=STSv1; id=2;\n'
expect 0 '*' parse-record - --json
shows '^{"result":"none","id":null,"reason":"'
input 'v=spf1 -all\n'
expect 0 '*' parse-record - --json
shows '"result":"none"'
input 'v=STSv1; id=a\0b;\n'
expect 0 '*' parse-record - --json
shows '"result":"none"'
input 'v=STSv1; id=\377;\n'
expect 0 '*' parse-record - --json
shows '"result":"none"'
input '"v=STSv1; id=1;\n'
expect 0 '*' parse-record - --json
shows '"result":"none"'
says 'quote'
input ' \t"v=STSv1; id=1;\n'
expect 0 '*' parse-record - --json
says 'quote'
input ''
expect 0 '*' parse-record - --json
shows '"result":"none"'
{ echo 'v=STSv1; id=1;'; yes x | head -c 262144; } >"$tmp/in"
expect 0 '*' parse-record - --json
shows '"result":"none","id":null,"reason":"more bytes'
expect 66 '' parse-record "$tmp/absent"
says "$tmp/absent"

# --- lint ---
input 'version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n'
expect 0 '*' lint - --json
shows '"valid":true,"mode":"enforce","max_age":604800,"mx":\["mx.example.com","\*.example.net"\],"errors":\[\]'
shows '"warnings":\[\]}$'
expect 0 '*' lint -
shows 'valid: mode enforce'
input 'version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 60\n'
expect 0 '*' lint - --json
shows '"valid":true.*"errors":\[\],"warnings":\["[^"]*max_age'
expect 0 '*' lint -
shows '^  warning .*max_age'
input 'version: STSv1\nmode: nonsense\nmx: mx.example.com\nmax_age: 604800\n'
expect 65 '*' lint - --json
shows '"valid":false,"mode":null,"max_age":null,"mx":\[\],"errors":\["'
expect 65 '*' lint -
shows 'error'
input ''
expect 65 '*' lint - --json
shows '"valid":false'
{ printf 'version: STSv1\nmode: none\nmax_age: 86400\n'; yes 'x: y' | head -c 65536; } >"$tmp/in"
expect 65 '*' lint - --json
shows '"valid":false'
input 'version: STSv1\nmode: none\nmax_age: 1\0\n'
expect 65 '*' lint - --json
shows '^{"valid":false,"mode":null,"max_age":null,"mx":\[\],"errors":\["line 3: .*control byte'
input 'version: STSv1\nmode: none\nmax_age: 86400\nx: \377\n'
expect 65 '*' lint - --json
shows '"valid":false'
expect 66 '' lint "$tmp/absent"
expect 74 '' lint "$tmp"

# --- what needs a configuration and a daemon ---
expect 78 '' -c "$tmp/absent.conf" status
says "$tmp/absent.conf"
echo 'nonsense = 1' >"$tmp/bad.conf"
expect 78 '' -c "$tmp/bad.conf" query example.com
says 'bad.conf:1'
expect 78 '' -c "$tmp" status
says "$tmp is a directory"
cat >"$tmp/away.conf" <<EOF
control { listen = "unix:$tmp/c.sock" }
socketmap { listen = {"unix:$tmp/s.sock"} }
sendmail_map { path = "$tmp/policy.db" }
milter { socket = "unix:$tmp/m.sock" }
EOF
for command in 'query example.com' list 'refresh --all' 'forget example.com' held status; do
	expect 69 '*' -c "$tmp/away.conf" $command
	says "$tmp/c.sock"
done

# --- what needs a configuration only ---
expect 78 '' -c "$tmp/absent.conf" refresh --once
expect 66 '' -c "$tmp/away.conf" refresh --once --domains "$tmp/absent"
says "$tmp/absent: cannot be opened"
expect 66 '' -c "$tmp/away.conf" refresh --once --from-log "$tmp/absent"
expect 66 '' -c "$tmp/away.conf" refresh --once --from-queue --cf "$tmp/absent.cf"

# --- check, as far as it goes without a network ---
cp "$tmp/away.conf" "$tmp/storeless.conf"
echo "store { dir = \"$tmp/no-store\" }" >>"$tmp/storeless.conf"
expect 69 '' -c "$tmp/storeless.conf" check --all
says "$tmp/no-store: "
expect 65 '' check example.com no..domain
says 'no..domain'
expect 78 '' -c "$tmp/absent.conf" check example.com
cp "$tmp/away.conf" "$tmp/deaf.conf"
echo 'dns { servers = {"127.0.0.1:9"} timeout = 1s }' >>"$tmp/deaf.conf"
expect 75 '*' -c "$tmp/deaf.conf" check example.com
shows 'Mail from here would be deferred: '
expect 75 '*' -c "$tmp/deaf.conf" check example.com example.net --json
shows '^{"domain":"example.net","result":"dns-trouble","mail":"deferred"'

# --- doctor ---
printf 'V10/Berkeley\nO ConnectionCacheSize=2\n' >"$tmp/sendmail.cf"
expect 78 '*' -c "$tmp/away.conf" doctor --cf "$tmp/sendmail.cf" --submit-cf "$tmp/absent.cf"
shows 'ConnectionCacheSize=2'
shows "FEATURE(.mtasts', .map=$tmp/policy', .live=$tmp/s.sock', .milter=$tmp/m.sock')dnl"
shows "$tmp/absent.cf: cannot be opened"
expect 78 '*' -c "$tmp/away.conf" doctor --cf "$tmp/sendmail.cf" --json
shows '^{"ok":false,"checks":\[{"check":"cf","what":"sendmail.cf can be read","ok":true,"found":null,"remedy":null}'

echo "$n checks, $failures failed"
[ "$failures" -eq 0 ]
