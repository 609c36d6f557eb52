#!/bin/sh
# servers.sh dns|https DIR PORT: writes what test_dns.c and test_https.c's own nsd (PORT) and nginx read into DIR.
set -eu
what=$1 dir=$2 port=$3
cd "$dir"

write_nsd() {
	cat > nsd.conf <<-END
	server:
		ip-address: 127.0.0.1
		port: $port
		username: ""
		chroot: ""
		zonesdir: "$dir"
		database: ""
		pidfile: "$dir/nsd.pid"
		xfrdfile: "$dir/xfrd.state"
		xfrdir: "$dir"
		zonelistfile: "$dir/zone.list"
		server-count: 1
		rrl-ratelimit: 0
		reuseport: no
	remote-control:
		control-enable: no
	zone:
		name: test
		zonefile: test.zone
	zone:
		name: broken
		zonefile: no-such-file.zone
	END
	# the zone "broken" has no file: nsd answers SERVFAIL for it, and REFUSED for what it does not serve
}

write_head() {
	cat <<-'END'
	$ORIGIN test.
	$TTL 300
	@ SOA ns hostmaster 1 3600 600 86400 120
	@ NS ns
	ns A 127.0.0.1
	END
}

write_dns_zone() {
	write_head
	cat <<-'END'
	_mta-sts.good TXT "v=STSv1; id=20260101T000000;"
	_mta-sts.split TXT "v=STSv1; i" "d=abc" "123;"
	_mta-sts.alias 600 CNAME one.provider
	one.provider 50 CNAME two.provider
	two.provider 70 TXT "v=STSv1; id=viaCNAME;"
	_mta-sts.dangling CNAME nowhere.provider
	_mta-sts.outside CNAME policy.elsewhere.
	_mta-sts.several TXT "v=STSv1; id=1;"
	_mta-sts.several TXT "v=STSv1; id=2;"
	_mta-sts.other 77 TXT "v=spf1 -all"
	_mta-sts.mixed TXT "v=spf1 -all"
	_mta-sts.mixed TXT "v=STSv1; id=mixed;"
	_mta-sts.bad TXT "v=STSv1; id=;"
	_mta-sts.nodata A 127.0.0.1
	*.wild CNAME two.provider
	both A 192.0.2.1
	both AAAA 2001:db8::1
	four A 192.0.2.4
	six AAAA 2001:db8::6
	cname CNAME both
	text TXT "no address"
	_mta-sts.long TXT "v=STSv1; id=long;"
	mail MX 20 mx2.mail
	mail MX 10 MX1.mail
	_25._tcp.mx1.mail TLSA 3 1 1 8cb0fc6c527506a053f4f14c8464bebbd6dede2738d11468dd953d7d6a3021f1
	_smtp._tls.mail TXT "v=TLSRPTv1; rua=mailto:tls@mail.test"
	nullmx MX 0 .
	END
	i=1
	while [ $i -le 12 ]; do
		echo "many A 192.0.2.$i"
		echo "many AAAA 2001:db8::$i"
		i=$((i + 1))
	done
	i=1
	while [ $i -le 40 ]; do # 40 x 100 bytes: no UDP answer without EDNS holds them
		echo "_mta-sts.long TXT \"$i $(printf '%.0s.' $(seq 90))\""
		i=$((i + 1))
	done
}

write_https_zone() {
	write_head
	cat <<-'END'
	*.good A 127.0.0.1
	mta-sts.refused A 127.0.0.9
	mta-sts.six AAAA ::1
	mta-sts.both AAAA 2001:db8::1
	mta-sts.both A 127.0.0.1
	mta-sts.second A 127.0.0.9
	mta-sts.second A 127.0.0.1
	mta-sts.alias CNAME host.provider
	host.provider A 127.0.0.1
	mta-sts.old A 127.0.0.6
	mta-sts.raw A 127.0.0.7
	mta-sts.dead A 127.0.0.8
	mta-sts.half A 127.0.0.8
	mta-sts.half A 127.0.0.1
	END
	for name in good params html notype missing moved forbidden empty invalid big chunked full slow trickle headers \
	    other cnonly cnother wild partial deep expired selfsigned stranger gzip closed; do
		echo "mta-sts.$name A 127.0.0.1"
	done
}

# make_cert NAME CA DAYS SUBJECT [SAN]
make_cert() {
	if [ -n "${5-}" ]; then
		printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$5" > "$1.ext"
	else
		printf 'extendedKeyUsage=serverAuth\n' > "$1.ext"
	fi
	openssl req -new -key key.pem -subj "/CN=$4" -out "$1.csr"
	openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -set_serial "0x$(openssl rand -hex 8)" -days "$3" \
	    -extfile "$1.ext" -out "$1.pem"
}

make_certs() {
	for ca in ca strangers; do
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=test $ca" \
		    -addext 'keyUsage=critical,keyCertSign' -keyout $ca.key -out $ca.pem
	done
	openssl ecparam -name prime256v1 -genkey -noout -out key.pem
	make_cert all ca 30 test "$(for n in good params html notype missing moved forbidden empty invalid big chunked \
	    full slow trickle headers refused six both second alias gzip old closed half raw; do printf 'DNS:mta-sts.%s.test,' $n; done | sed 's/,$//')"
	make_cert other ca 30 mta-sts.other.test DNS:mta-sts.another.test
	make_cert cnonly ca 30 mta-sts.cnonly.test
	make_cert cnother ca 30 mta-sts.cnother.test IP:127.0.0.1
	make_cert wild ca 30 test 'DNS:*.wild.test'
	make_cert partial ca 30 test 'DNS:mta-*.partial.test'
	make_cert deep ca 30 test 'DNS:*.test'
	make_cert expired ca -1 test DNS:mta-sts.expired.test
	make_cert stranger strangers 30 test DNS:mta-sts.stranger.test
	openssl req -x509 -key key.pem -days 30 -subj /CN=mta-sts.selfsigned.test \
	    -addext subjectAltName=DNS:mta-sts.selfsigned.test -out selfsigned.pem
}

write_bodies() {
	good='version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmx: *.example.net\r\nmax_age: 86400\r\n'
	for name in good params html notype slow trickle headers six both second alias other cnonly cnother wild partial deep expired \
	    selfsigned stranger old gzip closed half; do
		mkdir -p "www/$name/.well-known"
		printf "$good" > "www/$name/.well-known/mta-sts.txt"
	done
	mkdir -p www/empty/.well-known www/invalid/.well-known www/full/.well-known www/big/.well-known www/chunked/.well-known
	: > www/empty/.well-known/mta-sts.txt
	printf 'version: STSv1\nmode: enforce\nmax_age: 86400\n' > www/invalid/.well-known/mta-sts.txt
	# a policy of exactly 64 KiB, then one byte more; chunked has no Content-Length to tell it beforehand
	full=www/full/.well-known/mta-sts.txt
	printf "$good" > $full
	while [ "$(wc -c < $full)" -lt 64000 ]; do
		printf 'x%s: %s\r\n' "$(wc -c < $full)" "$(printf '%0900d' 0)" >> $full
	done
	rest=$((65536 - $(wc -c < $full) - 6))
	printf "pad: %0${rest}d\n" 0 >> $full
	{ cat $full; echo; } > www/big/.well-known/mta-sts.txt
	cp www/big/.well-known/mta-sts.txt www/chunked/.well-known/
}

# site NAME CERT EXTRA...: one server block
site() {
	name=$1 cert=$2
	shift 2
	cat <<-END
	server {
		${listen-listen 127.0.0.1:443 ssl; listen [::1]:443 ssl;}
		server_name mta-sts.$name.test;
		ssl_certificate $dir/$cert.pem; ssl_certificate_key $dir/key.pem;
		root $dir/www/$name;
		$*
	}
	END
}

write_nginx() {
	cat <<-END
	daemon off; master_process off; pid $dir/nginx.pid; error_log $dir/nginx.err;
	events { worker_connections 4096; }
	worker_rlimit_nofile 8192;
	http {
		client_body_temp_path $dir/tmp1; proxy_temp_path $dir/tmp2; fastcgi_temp_path $dir/tmp3;
		uwsgi_temp_path $dir/tmp4; scgi_temp_path $dir/tmp5;
		log_format probe 'host=\$host request="\$request" auth="\$http_authorization" cookie="\$http_cookie" '
		    'encoding="\$http_accept_encoding" agent="\$http_user_agent" sni=\$ssl_server_name';
		access_log $dir/access.log probe;
		types { } default_type text/plain; server_tokens off;
		ssl_protocols TLSv1.2 TLSv1.3;
	END
	for name in good empty invalid full big six both second alias half; do site $name all; done
	for name in wild partial deep other cnonly cnother expired selfsigned stranger; do site $name $name; done
	site params all "default_type 'TEXT/Plain; charset=utf-8';"
	site html all 'default_type text/html;'
	site notype all "default_type '';"
	site missing all 'return 404;'
	site forbidden all 'return 403;'
	site moved all 'return 301 https://mta-sts.good.test/.well-known/mta-sts.txt;'
	site chunked all 'ssi on; ssi_types *;'
	site closed all 'ssi on; ssi_types *; chunked_transfer_encoding off;'
	site slow all "location / { proxy_pass http://127.0.0.1:8098; proxy_read_timeout 60s; }"
	site trickle all 'limit_rate 8;'
	site gzip all 'gzip on; gzip_types *; gzip_min_length 1;'
	site headers all "$(i=0; while [ $i -lt 20 ]; do echo "add_header X-$i '$(printf '%04000d' 0)';"; i=$((i + 1)); done)"
	# the protocol version is settled before the name is known: an address of its own
	listen='listen 127.0.0.6:443 ssl;'
	site old all 'ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;'
	echo "server { listen 127.0.0.1:80; return 204; }"
	echo '}'
}

write_nsd
case $what in
dns)
	write_dns_zone > test.zone ;;
https)
	write_https_zone > test.zone
	make_certs
	write_bodies
	write_nginx > nginx.conf ;;
esac
