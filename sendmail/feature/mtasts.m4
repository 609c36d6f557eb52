divert(-1)
dnl
dnl FEATURE(`mtasts'): MTA-STS (RFC 8461) enforced for outbound mail, with mtastsd and mtasts-milter.
dnl
dnl   FEATURE(`mtasts')			in sendmail.mc: everything
dnl   FEATURE(`mtasts', `msp')		in submit.mc, before FEATURE(`msp'): the one option needed there
dnl
dnl Arguments, in any order and number:
dnl   map=/path		policy map, a Berkeley DB hash		(/var/lib/mtasts/map/policy)
dnl   type=TYPE		another type of map, as in sendmail_map { type = TYPE } of mtasts.conf	(hash)
dnl   live=SOCKET		live lookups, answered by mtastsd; `none' for a host without mtastsd, where cron fills the map
dnl						(local:/run/mtasts/socketmap.sock)
dnl   milter=SOCKET	mtasts-milter; `none' leaves it out; a value that begins with S= is used as it is
dnl						(local:/run/mtasts/milter.sock)
dnl   away=record|defer|deliver	unknown domains while mtastsd does not answer: as the record :alive: in the
dnl						map says (record), always deferred, or always delivered unchecked
dnl A SOCKET that begins with / is a local one.
dnl
dnl For what this Sendmail was built without (sendmail -d0.13 -bt tells, and sendmail/README what is lost):
dnl   without=altnames	without _FFR_TLS_ALTNAMES: the common name of a certificate is all that is seen; sni too
dnl   without=sni		without _FFR_MTA_STS: the name of the server cannot be sent
dnl   live=program, live=program:/path/mtastsctl	without SOCKETMAP	(/usr/sbin/mtastsctl)
dnl
dnl The file is read twice. On the FEATURE line it takes the arguments and its place among the milters; the rest
dnl is done when the whole .mc file has been read (m4wrap), so that the order of its lines does not matter.
dnl
define(`_MTASTS_MARK_', `_MTASTS_FIRST_')
ifdef(`_MTASTS_FINISH_', `define(`_MTASTS_MARK_', `_MTASTS_SECOND_')')

dnl _MTASTS_WARN_(text): one line on standard error
define(`_MTASTS_WARN_', `errprint(`*** WARNING: FEATURE(mtasts): $1
')')
define(`_MTASTS_ERROR_', `errprint(`*** ERROR: FEATURE(mtasts): $1
')')

ifelse(_MTASTS_MARK_, `_MTASTS_FIRST_', `
ifdef(`_MTASTS_', `_MTASTS_ERROR_(`the FEATURE line is there twice; the first one is used')',
`define(`_MTASTS_', `1')
define(`_MTASTS_MAP_', `/var/lib/mtasts/map/policy')
define(`_MTASTS_TYPE_', `hash')
define(`_MTASTS_LIVE_', `local:/run/mtasts/socketmap.sock')
define(`_MTASTS_MILTER_', `local:/run/mtasts/milter.sock')
define(`_MTASTS_AWAY_', `record')

define(`_MTASTS_SOCKET_', `ifelse(substr(`$1', 0, 1), `/', `local:')$1')
define(`_MTASTS_ARG_',
`ifelse(`$1', `', `',
	`$1', `msp', `define(`_MTASTS_MSP_', `1')',
	substr(`$1', 0, 4), `map=', `define(`_MTASTS_MAP_', `substr(`$1', 4)')',
	substr(`$1', 0, 5), `type=', `define(`_MTASTS_TYPE_', `substr(`$1', 5)')',
	`$1', `live=program', `define(`_MTASTS_CTL_', `/usr/sbin/mtastsctl')',
	substr(`$1', 0, 13), `live=program:', `define(`_MTASTS_CTL_', `substr(`$1', 13)')',
	`$1', `without=altnames', `define(`_MTASTS_NO_ALTNAMES_', `1')define(`_MTASTS_NO_SNI_', `1')',
	`$1', `without=sni', `define(`_MTASTS_NO_SNI_', `1')',
	substr(`$1', 0, 5), `live=', `define(`_MTASTS_LIVE_', `_MTASTS_SOCKET_(substr(`$1', 5))')',
	substr(`$1', 0, 9), `milter=S=', `define(`_MTASTS_MILTER_X_', `substr(`$1', 7)')',
	substr(`$1', 0, 7), `milter=', `define(`_MTASTS_MILTER_', `_MTASTS_SOCKET_(substr(`$1', 7))')',
	substr(`$1', 0, 5), `away=', `define(`_MTASTS_AWAY_', substr(`$1', 5))',
	`_MTASTS_ERROR_(`unknown argument "$1" (map=, type=, live=, milter=, away=, without=altnames, without=sni, msp)')')')
define(`_MTASTS_ARGLIST_', `_MTASTS_ARG_(`$1')`'ifelse(eval($# > 1), `1', `_MTASTS_ARGLIST_(shift($@))')')
_MTASTS_ARGLIST_(_ARGS_)

ifelse(_MTASTS_AWAY_, `record', `', _MTASTS_AWAY_, `defer', `', _MTASTS_AWAY_, `deliver', `',
	`_MTASTS_ERROR_(`away='_MTASTS_AWAY_` is not record, defer or deliver; record is used')
	define(`_MTASTS_AWAY_', `record')')

dnl What was set before this line. cfhead.m4 itself sets the cache size to 2, so a 2 says nothing.
ifelse(confMCI_CACHE_SIZE, `2', `define(`confMCI_CACHE_SIZE', `0')')
ifdef(`confDONT_EXPAND_CNAMES', `', `define(`confDONT_EXPAND_CNAMES', `True')')

dnl No F=: when the filter is away mail is accepted untagged, and the rules still hold what must be held.
dnl E is over the 45 s that the filter may wait at end-of-message, R over its progress interval.
ifdef(`_MTASTS_MILTER_X_', `', `define(`_MTASTS_MILTER_X_', `S=_MTASTS_MILTER_, T=C:10s;S:10s;R:20s;E:2m')')
ifelse(ifdef(`_MTASTS_MSP_', `none', _MTASTS_MILTER_), `none', `define(`_MTASTS_MILTER_', `none')',
	`INPUT_MAIL_FILTER(`mtasts', `_MTASTS_MILTER_X_')')

dnl GNU m4 reads wrapped text last in, first out: this comes before proto.m4, which writes the .cf file.
m4wrap(`define(`_MTASTS_FINISH_', `1')include(_CF_DIR_`feature/mtasts.m4')')
')')

dnl ---------------------------------------------------------------------------------------------------------
dnl Second reading: all of the .mc file is known.
dnl ---------------------------------------------------------------------------------------------------------
ifelse(_MTASTS_MARK_, `_MTASTS_SECOND_', `
ifdef(`_OPTION', `_MTASTS_ERROR_(`this m4 reads m4wrap text first in, first out; use GNU m4')')

dnl A spoofed CNAME would rewrite the recipient before its policy is looked up.
ifelse(index(`TtYy1', substr(confDONT_EXPAND_CNAMES, 0, 1)), `-1',
	`_MTASTS_WARN_(`confDONT_EXPAND_CNAMES is 'confDONT_EXPAND_CNAMES`; True is used, remove that define')
	define(`confDONT_EXPAND_CNAMES', `True')')
')
ifelse(_MTASTS_MARK_`'ifdef(`_MTASTS_MSP_', `_MSP'), `_MTASTS_SECOND_', `
dnl TLS state and certificate names belong to a process, not to a cached connection.
ifelse(confMCI_CACHE_SIZE, `0', `',
	`_MTASTS_WARN_(`confMCI_CACHE_SIZE is 'confMCI_CACHE_SIZE`; 0 is used, remove that define')
	define(`confMCI_CACHE_SIZE', `0')')

dnl Sendmail loads its CAs only when both are set; otherwise every certificate fails.
ifdef(`confCACERT', `ifdef(`confCACERT_PATH', `',
	`_MTASTS_WARN_(`confCACERT is set without confCACERT_PATH; define(confCACERT_PATH, /etc/ssl/certs) is added')')',
	`ifdef(`confCACERT_PATH',
	`_MTASTS_WARN_(`confCACERT_PATH is set without confCACERT; define(confCACERT, /etc/ssl/certs/ca-certificates.crt) is added')')')
ifdef(`confCACERT', `', `define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt')')
ifdef(`confCACERT_PATH', `', `define(`confCACERT_PATH', `/etc/ssl/certs')')

dnl Without a connection cache Sendmail disables it and complains at every start; the ostype of Debian sets it.
undefine(`confHOST_STATUS_DIRECTORY')

ifdef(`confRUN_AS_USER', `_MTASTS_WARN_(`confRUN_AS_USER is 'confRUN_AS_USER`: its group must be that of '_MTASTS_MAP_`.db and of the sockets, group = in mtasts.conf')')

ifdef(`_MTA_STS_', `_MTASTS_WARN_(`FEATURE(sts) is there too; its rules are left out, remove that line')
	undefine(`_MTA_STS_')')

dnl _MTASTS_ALL_(list): the list as one text, however often the site has quoted it
define(`_MTASTS_ALL_', ``,$*,'')

dnl Sendmail has room for 95 macro names in braces, its own and those of all features; one too many, and mail bounces. So most of
dnl ours have one letter, of those that no feature of Sendmail uses, and names that are never needed at the same time are one.
define(`_MTASTS_TMP_', `D')
define(`_MTASTS_KEY_', `E')
define(`_MTASTS_DOM_', `G')
define(`_MTASTS_VIA_', `I')
define(`_MTASTS_CALL_', `J')
define(`_MTASTS_PASSED_', `K')
define(`_MTASTS_OTHER_', `N')
define(`_MTASTS_BESIDE_', `P')
define(`_MTASTS_BEFORE_', `Q')
define(`_MTASTS_WAITS_', `T')

dnl _MTASTS_ASK_(key, default, what stands there without live lookups)
define(`_MTASTS_ASK_', `ifelse(_MTASTS_LIVE_, `none', `$3', `$(mtastsq $1 $: $2 $)')')

dnl A confINPUT_MAIL_FILTERS of the site below our line has replaced the list.
ifelse(_MTASTS_MILTER_, `none', `', regexp(_MTASTS_ALL_(confINPUT_MAIL_FILTERS), `[, 	]mtasts[, 	]'), `-1',
	`_MTASTS_WARN_(`confINPUT_MAIL_FILTERS lacks mtasts; it is added at the end, add it where it is to run')
	define(`confINPUT_MAIL_FILTERS', defn(`confINPUT_MAIL_FILTERS')ifelse(defn(`confINPUT_MAIL_FILTERS'), `', `', ``, '')`mtasts')')

define(`_MTASTS_MACRO_', `ifelse(regexp(_MTASTS_ALL_($1), `[, 	]$2[, 	]'), `-1',
	`_MTASTS_WARN_(`$1 lacks $2; it is added, add it there')
	define(`$1', defn(`$1')ifelse(defn(`$1'), `', `', ``, '')``$2'')')')
ifelse(_MTASTS_MILTER_, `none', `', `
_MTASTS_MACRO_(`confMILTER_MACROS_ENVFROM', `i')
_MTASTS_MACRO_(`confMILTER_MACROS_ENVRCPT', `{rcpt_mailer}')
_MTASTS_MACRO_(`confMILTER_MACROS_ENVRCPT', `{rcpt_host}')
_MTASTS_MACRO_(`confMILTER_MACROS_ENVRCPT', `{rcpt_addr}')
')

define(`_LOCAL_TLS_RCPT_')
define(`_LOCAL_TLS_SERVER_')

dnl Hold back what the site has put into LOCAL_RULESETS: our rules come first and fall through to those.
divert(92)undivert(9)
divert(6)
# MTA-STS: sendmail/README of mtasts tells what each line is for
# the checksum of this file, set when it is installed: mtastsctl doctor compares
Kmtasts_feature null @FEATURE_MARK@
ifdef(`_MTASTS_NO_ALTNAMES_', `dnl', `O SetCertAltnames=true')
# no -o: a map that is missing must not look like an empty one
Kmtasts _MTASTS_TYPE_ -T<TMPF> _MTASTS_MAP_
ifelse(_MTASTS_LIVE_, `none', `', `# -f keeps the case of the queue id, -t leaves our own text as the reason in mailq
ifdef(`_MTASTS_CTL_', `Kmtastsq program -f -t -T<TMPF> _MTASTS_CTL_ lookup --', `Kmtastsq socket -f -t -d5 -T<TMPF> _MTASTS_LIVE_')')
# names of our own: Kmacro and Karith are not in every configuration
Kmtasts_mac macro
Kmtasts_cmp arith
Kmtasts_log syslog -LNOTICE
# a longer key would be cut at 256 bytes and could match what it must not
Kmtasts_len regex -a<LONG> .{255}
Kmtasts_odd regex -a<ODD> [^0-9]
Kmtasts_smtp regex -a<SMTP> smtp|relay
# -q: a key loses its backslashes otherwise
Kmtasts_esc regex -q -a<ESCAPED> [\]
# kept with a message in the queue, for the sets of rules; {auth_authen} would be lost with the first connection
C{persistentMacros}{mtasts_user} {daemon_name}
divert(9)
######################################################################
###  mtasts: MTA-STS for each recipient, before and in the session
######################################################################

# Whose policy rules where an address goes? That of the next hop, RFC 8461 section 3.4: its own domain, or the smart
# host or mailertable entry in its place. Several hosts are a list, a.test:b.test.
# in: address; out: that domain without final dot, a list, or nothing
Smtasts_route
R$*			$: $1 $| $>Recurse $1
# routing failed for now: take the domain as it is written
R$* $| $# error $*	$: <?> $>canonify $1
R<?> $* < @ $* > $*	$: $(mtasts_mac _MTASTS_TMP_ $@ esmtp $) $(mtasts_mac _MTASTS_KEY_ $@ $2 $) $2
R<?> $*			$@
# the mailer triple inside a map call sets its argument to the host
R$* $| $# $- $* < @ $* > $*	$: $(mtasts_mac _MTASTS_TMP_ $@ $2 $) $(mtasts_mac _MTASTS_KEY_ $3 $) $4
R$* $| $# $- $*		$: $(mtasts_mac _MTASTS_TMP_ $@ $2 $) $(mtasts_mac _MTASTS_KEY_ $3 $)
R$+ .			$1
R$*			$: $(mtasts_mac _MTASTS_DOM_ $@ $1 $) $&_MTASTS_KEY_
R$+ .			$1
# what a mailer other than SMTP calls its host need not be one: local, LMTP, programs, files
R$*			$: $1 $| $(mtasts_smtp $&_MTASTS_TMP_ $: other $)
R$&_MTASTS_DOM_ $| $*	$: $&_MTASTS_DOM_ $| own
R$* $| other		$@
R$* $| $*		$: $1
# the resolver reads b\097d.test as bad.test, a map as b097d.test, and to RFC 5321 it is nothing
R$+			$: $1 $| $(mtasts_esc $1 $: plain $)
R$* $| plain		$: $1
R$* $| $*		$#error $@ 5.1.2 $: "553 mtasts: a backslash in the domain name"
# in brackets: the host itself, without MX; its policy is that of its name
R$* [ IPv6 $* ] $*	$1 $3
R$* [ $* ] $*		$1 $2 $3
R$* , $*		$1 : $2
R$*			$: $>mtasts_hops $1
R$&_MTASTS_DOM_		$@ $&_MTASTS_DOM_ $(mtasts_mac _MTASTS_VIA_ $)
R$*			$@ $1 $(mtasts_mac _MTASTS_VIA_ $@ :hop: $)

# in: hosts; out: those that can have a policy
Smtasts_hops
R$* : $*		$: $2 $| $>mtasts_hop $1
R$* $| $*		$: $2 $| $>mtasts_hops $1
R$* $|			$@ $1
R$| $*			$@ $1
R$* $| $*		$@ $1 : $2
# not so addresses, single labels, and this host
R$*			$@ $>mtasts_hop $1

Smtasts_hop
R$+ .			$1
R$-			$@
Rlocalhost . localdomain	$@
R$* . $-		$: $1 . $2 $| $(mtasts_odd $2 $: number $)
R$* $| number		$@
R$* $| $*		$: $1
R$*			$@ $1

# What does the map say?
# in: domain; out: domain $| enforce, none or unknown, or an error
Smtasts_known
R$+			$: $1 $| $(mtasts $1 $: unknown $)
R$* $| $* <TMPF>	$@ $>mtasts_temp 4.3.0 $| "451 mtasts: policy map _MTASTS_MAP_ is not readable"
# after the domain: a writer may have died between the two
R$* $| $*		$: $1 $| $2 $| $(mtasts :ready: $: not $)
R$* $| $* $| $* <TMPF>	$@ $>mtasts_temp 4.3.0 $| "451 mtasts: policy map _MTASTS_MAP_ is not readable"
R$* $| $* $| yes	$: $1 $| $2 $(mtasts_mac {mtasts_mode} $@ on $)
R$* $| $* $| obs	$: $1 $| $2 $(mtasts_mac {mtasts_mode} $@ obs $)
R$* $| $* $| $*		$@ $>mtasts_temp 4.3.0 $| "451 mtasts: policy map _MTASTS_MAP_ is not complete"
R$* $| enforce $-	$: $1 $| enforce $| $(mtasts_cmp l $@ $&{time} $@ $2 $)
R$* $| none $-		$: $1 $| none $| $(mtasts_cmp l $@ $&{time} $@ $2 $)
R$* $| $- $| TRUE	$@ $1 $| $2
R$* $| $*		$@ $1 $| unknown

# Which set of rules is the message under? That of its authenticated user, else of the domain of its sender, else of the
# listener that it came by, else the rules without a name.
# out: what the keys of these rules begin with in the map
Smtasts_set
R$*			$: $(mtasts :sets: $: none $)
Rnone			$@ :site:
R$*			$: <$&{mtasts_user}>
R<$+>			$: $1 $| $(mtasts :user:$1: $: none $)
R$+ $| none		$: <>
R$+ $| $*		$@ :user:$1:
R$*			$: <$&f>
R<$* @ $+>		$: $2 $| $(mtasts :from:$2: $: none $)
R$+ $| none		$: <>
R$+ $| $*		$@ :from:$1:
R$*			$: <$&{daemon_name}>
R<$+>			$: $1 $| $(mtasts :port:$1: $: none $)
R$+ $| none		$@ :site:
R$+ $| $*		$@ :port:$1:
R$*			$@ :site:

# What the site demands for a domain: its own rule, else that of the longest suffix, else that for all the rest.
# in: domain; out: optional, hold, refuse or disable; or an error
Smtasts_site
R$+			$: $1 $| $>mtasts_set
R$* $| $*		$: $1 $(mtasts_mac _MTASTS_KEY_ $@ $2 $)
R$+			$: $1 $| $(mtasts $&_MTASTS_KEY_ $: none $)
R$* $| none		$@ optional
R$* $| $* <TMPF>	$@ $>mtasts_temp 4.3.0 $| "451 mtasts: policy map _MTASTS_MAP_ is not readable"
R$* $| $*		$: <$2> $1 $| $(mtasts $&_MTASTS_KEY_$1 $: none $)
R<$*> $* . $+ $| none	<$1> $3 $| $(mtasts $&_MTASTS_KEY_.$3 $: none $)
R<$*> $* $| none	$@ $1
R$* $| $* <TMPF>	$@ $>mtasts_temp 4.3.0 $| "451 mtasts: policy map _MTASTS_MAP_ is not readable"
R$* $| $*		$@ $2

# There is no policy, or none that counts: what does the site make of it?
# in: domain
Smtasts_none
R$+			$: <$&{mtasts_site}> $1
R<hold> $*		$@ $>mtasts_refuse 4.7.1 $| "451 mtasts: this site requires an MTA-STS policy, and " $1 " has none that is valid"
# what comes after it in this process must not be taken for permanent as well
R<refuse> $*		$: <refuse> $1 $(mtasts_mac _MTASTS_BEFORE_ $@ yes $)
R<refuse> $*		$@ $>mtasts_refuse 5.7.1 $| "554 mtasts: this site requires an MTA-STS policy, and " $1 " has none that is valid"
R<$*> $*		$@ $2 $| none

# Refuse, for now or (5.x.x) for good; when observing, say so in the log and let it pass.
# in: status $| text
Smtasts_refuse
R$* $| $*		$: $&{mtasts_mode} $| $1 $| $2
R obs $| $* $| $*	$@ ok $(mtasts_log "mtasts=observe would=" $2 $)
R$* $| $* $| $*		$@ $>mtasts_temp $2 $| $3

# A refusal, kept for Scheck_compat as well.
# in: status $| text
Smtasts_temp
R$* $| $*		$: $(mtasts_mac {mtasts_status0} $@ $1 $) $(mtasts_mac {mtasts_text0} $@ $2 $) $1 $| $2
R$* $| $*		$#error $@ $1 $: $2

# Is the policy known, by the map or by mtastsd? Those of a list must all be.
# in: domain or list; out: the same $| enforce or none; ok: it may pass, or an error
Smtasts_ask
R$* : $*		$: <> $1 : $2 $| $>mtasts_asks $1 : $2 $(mtasts_mac _MTASTS_TMP_ $@ none $)
R<> $* $| $# $*		$#$2
R<> $* $| $*		$@ $1 $| $2
R$*			$@ $>mtasts_ask1 $1

# in: list; out: enforce when one of them is
Smtasts_asks
R$+ : $+		$: <$2> $>mtasts_ask1 $1
R<$+> $# $*		$#$2
R<$+> $* $| enforce	$: <$1> $(mtasts_mac _MTASTS_TMP_ $@ enforce $)
R<$+> $*		$@ $>mtasts_asks $1
R$+			$: <> $>mtasts_ask1 $1
R<> $# $*		$#$1
R<> $* $| enforce	$@ enforce
R<> $*			$@ $&_MTASTS_TMP_

Smtasts_ask1
# the rule before the policy: that lookup ends by asking whether the map is whole
R$+			$: $1 $| $>mtasts_site $1
R$* $| $# $*		$#$2
R$* $| $-		$: $1 $(mtasts_mac {mtasts_site} $@ $2 $)
# Sendmail gives up on a name of more than 100 labels
R$* $| $*		$: $1 $(mtasts_mac {mtasts_site} $@ hold $)
R$+			$: $>mtasts_known $1
R$# $*			$#$1
R$* $| $*		$: <$&{mtasts_site}> $1 $| $2
R<disable> $* $| $*	$@ $1 $| none
R<$*> $* $| enforce	$@ $2 $| enforce
R<optional> $* $| none	$@ $1 $| none
# check_compat has asked already
R<$*> $* $| $*		$: <$2,$&i> $2
R<$&{mtasts_asked}> $*	$@ ok
R<$*> $*		$: $2 $| _MTASTS_ASK_(`$&_MTASTS_VIA_$1', `odd', `<TMPF>')
R$* $| none		$@ $>mtasts_none $1
# none, but DNS has not confirmed it: that does for others, not where a policy is required
R$* $| doubt		$: <$&{mtasts_site}> $1 $| wait
R<optional> $* $| wait	$@ $1 $| none
R<$-> $* $| wait	$: $2 $| wait
# it may have been pushed while the live lookup waited for it
R$* $| enforce		$: <pushed> $>mtasts_known $1
R<pushed> $# $*		$#$1
R<pushed> $* $| enforce	$@ $1 $| enforce
R<pushed> $* $| none	$: <$&{mtasts_site}> $1
R<optional> $*		$@ $1 $| none
R<pushed> $* $| $*	$: <pushed> $1
R<$*> $+		$@ $>mtasts_refuse 4.4.3 $| "451 mtasts: policy of " $2 " is being pushed"
R$* $| wait		$@ $>mtasts_refuse 4.4.3 $| "451 mtasts: policy of " $1 " not known yet"
# nothing flows unchecked where a policy is required
R$* $| $* <TMPF>	$: <$&{mtasts_site}> $1 $| $2 <TMPF>
R<optional> $*		$: $1
R<$*> $* $| $* <TMPF>	$: <away> $2
ifelse(_MTASTS_AWAY_, `record', `dnl
R$* $| $* <TMPF>	$: <away> $1 $| $(mtasts :alive: $: never $)
R<away> $* $| $* <TMPF>	$@ $>mtasts_refuse 4.3.0 $| "451 mtasts: policy map _MTASTS_MAP_ is not readable"
R<away> $* $| $+	$: <away> $1 $| $2 $| $(mtasts_odd $2 $: number $)
R<away> $* $| $* $| number	$: <away> $1 $| $(mtasts_cmp l $@ $&{time} $@ $2 $)
R<away> $* $| FALSE	$: <unchecked> $1
R<away> $* $| $*	$: <away> $1', _MTASTS_AWAY_, `deliver', `dnl
R$* $| $* <TMPF>	$: <unchecked> $1', `dnl
R$* $| $* <TMPF>	$: <away> $1')
R<unchecked> $*		$@ ok $(mtasts_log "mtasts=deliver policy=unchecked domain=" $1 " reason=mtastsd-away" $)
R<away> $*		$@ $>mtasts_refuse 4.4.3 $| "451 mtasts: policy of " $1 " not known: mtastsd does not answer"
R$* $| $*		$@ $>mtasts_refuse 4.4.3 $| "451 mtasts: policy of " $1 " not known: odd answer from mtastsd"

# Sendmail takes a temporary refusal in check_compat or tls_rcpt for a permanent one when its process has met a permanent
# failure before: of another recipient, of an earlier command of the SMTP session, of the message that a bounce is about.
# A refusal by tls_server is always what it says, but it also keeps the other recipients from that host until the next run
# of the queue. So when there may have been a failure, what is not known is let pass here and refused there, before MAIL;
# and what is enforced is checked there already when there are signs of one. mtastsd is told when others wait because of
# that, and has the queue run soon.
# $&_MTASTS_CALL_: the host of the recipients of one session, who are all asked about here before it begins
Smtasts_begin
R$*			$: $&h $| $1
R$&_MTASTS_CALL_ $| $*	$@ $1
R$* $| $*		$: $(mtasts_mac _MTASTS_CALL_ $@ $1 $) $&_MTASTS_PASSED_ $| $2
R$+ $| $*		$: $(mtasts_mac _MTASTS_BEFORE_ $@ yes $) $| $2
R$* $| $*		$: $(mtasts_mac _MTASTS_PASSED_ $) $(mtasts_mac _MTASTS_OTHER_ $) $2
R$*			$: $(mtasts_mac {mtasts_late} $@ , $) $(mtasts_mac {mtasts_status} $) $1
R$*			$: $(mtasts_mac _MTASTS_WAITS_ $) $(mtasts_mac _MTASTS_BESIDE_ $) $1
R$*			$@ $(mtasts_mac {mtasts_text} $) $1

# in: sender $| recipient; out: may the process have met a failure? sure: no, as the run of a queued message begins without
# one; strong: it has seen what ends in one; weak: the rest
Smtasts_doubt
RMAILER-DAEMON $| $*	$@ strong
R<> $| $*		$@ strong
R$| $*			$@ strong
R$*			$: <$&_MTASTS_BEFORE_> <$&{nbadrcpts}> <$&{deliveryMode}> <$&{ntries}>
R$* <0> $*		$1 <> $2
# tried before, so this is a run of the queue; a first try may be in the hands of an SMTP session, whatever its mode
R<> <> <i> <$+>		$@ sure
R<> <> <$*> <$*>	$@ weak
R$*			$@ strong

# Before any connection.
# in: recipient as it was addressed
Smtasts_compat
# no host: local users, programs, files
R$*			$: <$&h> $1
R<> $*			$@ ok
R<$*> $*		$: $>mtasts_route $2
R$# $*			$#$1
R$@			$@ ok
R$+			$: $1 $(mtasts_mac _MTASTS_DOM_ $@ $1 $) $| $>mtasts_ask $1
R$* $| $# $*		$#$2
R$* $| $* $| enforce	$@ enforce $1
R$* $| $*		$@ ok $(mtasts_mac {mtasts_asked} $@ $1,$&i $)

Scheck_compat
R$* $| $*		$: $1 $| $2 $| $>mtasts_begin $2
R$* $| $* $| $*		$: $1 $| $2 $| $>mtasts_doubt $1 $| $2
R$* $| $* $| $*		$: $1 $| $2 $| $3 $| $>mtasts_compat $2
R$* $| $* $| $* $| $# $- $- 5 . $*	$#$4 $5 5.$6
R$* $| $* $| sure $| $# $*	$#$3
R$* $| $* $| $* $| $# $*	$: $1 $| $2 $| $>mtasts_wait
R$* $| $* $| $* $| $+	$: $1 $| $2 $| $3 $| $4 $(mtasts_mac _MTASTS_BESIDE_ $@ yes $)
R$* $| $* $| $* $| ok	$: $1 $| $2 $| $(mtasts_mac _MTASTS_OTHER_ $@ yes $)
R$* $| $* $| strong $| enforce $*	$: $1 $| $2 $| $>mtasts_note $3
R$* $| $* $| $*		$: $1 $| $2 $(mtasts_mac _MTASTS_PASSED_ $@ yes $)

# What tls_server is to say of a session with this recipient.
Smtasts_wait
R$*			$: $(mtasts_mac {mtasts_status} $@ $&{mtasts_status0} $) $(mtasts_mac {mtasts_text} $@ $&{mtasts_text0} $)
R$*			$@ $(mtasts_mac _MTASTS_WAITS_ $@ $&_MTASTS_DOM_ $)

# A domain that tls_server is to check: once, and no more of them than macros can carry; the rest is left to tls_rcpt.
# in: domain
Smtasts_note
R$+			$: $1 $| $&{mtasts_late}
R$+ $| $*		$: $1 $| $2 $(mtasts_mac _MTASTS_DOM_ $@ $1 $)
R$+ $| $* , $&_MTASTS_DOM_ , $*	$@ noted
R$+ $| $*		$: $1 $| $2 $| $(mtasts_len $1 $2 $: short $)
R$+ $| $* $| short	$@ noted $(mtasts_mac {mtasts_late} $@ , $1 $2 $)
R$*			$@ noted

# In the session: does the connection meet an enforced policy?
# in: recipient as it is sent
Smtasts_rcpt
R$*			$: $>mtasts_route $1
R$# $*			$#$1
R$@			$@ ok
R$+			$@ $>mtasts_session $1

# Of a list it must meet one of the policies that are enforced.
# in: domain or list; out: met, or ok where nothing is enforced, or an error
Smtasts_session
R$* : $*		$@ $>mtasts_sessions $1 : $2 $(mtasts_mac _MTASTS_TMP_ $)
R$*			$@ $>mtasts_session1 $1

Smtasts_sessions
R$+ : $+		$: <$2> $>mtasts_session1 $1
R<$+> met		$@ met
R<$+> $# $*		$: <$1> $(mtasts_mac _MTASTS_TMP_ $@ yes $)
R<$+> $*		$@ $>mtasts_sessions $1
R$+			$: <$&_MTASTS_TMP_> $>mtasts_session1 $1
R<$*> met		$@ met
R<$*> $# $*		$#$2
R<yes> $*		$#error $@ $&{mtasts_status0} $: $&{mtasts_text0}
R<> $*			$@ ok

Smtasts_session1
# rule set 5 makes addresses (LUSER_RELAY) that check_compat does not see
R$+			$: $>mtasts_ask1 $1
R$# $*			$#$1
R ok			$@ ok
R$* $| none		$@ ok
R$* $| enforce		$: $1 $| <$&{verify}>
# only a verified TLSA record gives TRUSTED; DANE comes first, RFC 8461 section 2
R$* $| <TRUSTED>	$@ met
R$* $| <OK>		$: $1 $| $&{server_name}
R$* $| <NONE>		$@ $>mtasts_fail $1 $| 4.7.4 $| "454 mtasts: starttls-not-supported by " $&{server_name} " for " $1
R$* $| <$*>		$@ $>mtasts_fail $1 $| 4.7.5 $| "454 mtasts: validation-failure verify=" $2 " at " $&{server_name} " for " $1
R$* $| $+ .		$1 $| $2
R$* $| $+		$: $1 $| $2 $| $>mtasts_san $2
R$* $| $* $| sanok	$: $1 $| $2 $| $(mtasts_len $1:$2 $: short $)
R$* $| $* $| short	$: $1 $| $2 $| $(mtasts $1:$2 $: none $)
# *.example.net is the key .example.net: exactly one label
R$* $| $- . $+ $| none	$: $1 $| $2.$3 $| $(mtasts $1:.$3 $: none $)
R$* $| $* $| mx		$@ met
R$* $| $* $| $* <TMPF>	$@ $>mtasts_refuse 4.3.0 $| "451 mtasts: policy map _MTASTS_MAP_ is not readable"
R$* $| $* $| nosan	$@ $>mtasts_fail $1 $| 4.7.5 $| "454 mtasts: certificate-host-mismatch at " $2 " for " $1
R$* $| $* $| $*		$@ $>mtasts_fail $1 $| 4.7.5 $| "454 mtasts: mx-mismatch at " $2 " for " $1
R$* $| $*		$@ $>mtasts_fail $1 $| 4.7.5 $| "454 mtasts: validation-failure without server name for " $1

# A DNS-ID that fits, exactly or by one wildcard label.
Smtasts_san
define(`_MTASTS_NAMES_', ifdef(`_MTASTS_NO_ALTNAMES_', `$&{cn_subject}', `$={cert_altnames}'))dnl
R`'_MTASTS_NAMES_	$@ sanok
R$- . $+		$: *.$2
R`'_MTASTS_NAMES_	$@ sanok
R$*			$@ nosan

# mtastsd looks at the TXT record at once (RFC 8461 section 5); its answer changes nothing here.
# in: domain $| status $| text
Smtasts_fail
R$* $| $* $| $*		$: $2 $| $3 $| _MTASTS_ASK_(`:failed:$&_MTASTS_VIA_$1,$&i', `noted', `noted')
R$* $| $* $| $*		$@ $>mtasts_refuse $1 $| $2

# What Scheck_compat has left to us. In a queue run where recipients of domains without a policy share the session, those
# with one are left to tls_rcpt: the others would wait at each run.
Smtasts_server
# the recipients after this session are asked about anew
R$*			$: <$&{mtasts_mode}> $(mtasts_mac _MTASTS_CALL_ $)
# what is only observed is told once, by tls_rcpt
R<obs>			$@ ok
R$*			$: <$&{mtasts_text}>
R<$+>			$: <told> $>mtasts_beside $&_MTASTS_WAITS_
R<told> $*		$#error $@ $&{mtasts_status} $: $&{mtasts_text}
R<>			$: <$&_MTASTS_OTHER_> <$&{deliveryMode}> <$&{ntries}> $&{mtasts_late}
R<yes> <i> <0> $*	$: <> <> <> $1
R<yes> <i> <$+> $*	$@ ok
R<$*> <$*> <$*> , $+	$@ $>mtasts_each $4
R$*			$@ ok

# in: domain, domain, ...
Smtasts_each
R$* , $*		$: $1 , $2 $| $>mtasts_session $1
# for good is not for the others of the session
R$* , $* $| $# $- $- 5 . $*	$: $1 , $2 $| ok
R$* , $* $| $# $*	$: <told> $>mtasts_beside $1
R<told> $*		$#error $@ $&{mtasts_status0} $: $&{mtasts_text0}
R$* , $+ $| $*		$@ $>mtasts_each $2
R$*			$@ ok

# A session is refused because of one domain: mtastsd hears of it when others wait as well.
# in: domain
Smtasts_beside
R$*			$: <$&_MTASTS_BESIDE_> $1
R<yes> $+		$: _MTASTS_ASK_(`:beside:$&_MTASTS_VIA_$1,$&i', `noted', `noted')
R$*			$@

SLocal_check_mail
R$*			$: $1 $(mtasts_mac {mtasts_user} $@ $&{auth_authen} $)

SLocal_tls_server
R$*			$: $1 $| $>mtasts_server $1
R$* $| $# $*		$#$2
R$* $| $*		$: $1

SLocal_tls_rcpt
R$*			$: $1 $| $>mtasts_rcpt $1
R$* $| $# $*		$#$2
R$* $| $*		$: $1

ifdef(`_MTASTS_NO_SNI_', `', `dnl
# SNI always: which of several recipients comes first must not matter
ifdef(`_TLS_SESSION_FEATURES_', `dnl
Stls_srv_features
ifdef(`_ACCESS_TABLE_', `dnl
R$* $| $*		$: $>D <$1> <?> <! TLS_Srv_Features> <$2>
R<?> <$*>		$: $>A <$1> <?> <! TLS_Srv_Features> <$1>
R<?> <$*>		$@ ""
R<$+> <$*>		$@ $1', `dnl
R$*			$@ ""')

Stls_clt_features
ifdef(`_ACCESS_TABLE_', `dnl
R$* $| $*		$: $>D <$1> <?> <! TLS_Clt_Features> <$2>
R<?> <$*>		$: $>A <$1> <?> <! TLS_Clt_Features> <$1>
R<?> <$*>		$@ servername=hostname
R<$+> <$*>		$: $1
R$-			$: $(dequote $1 $)
R$* servername=$* $*	$@ $1 servername=$2 $3
R$* ;			$1
R$+			$@ $1 ; servername=hostname
R$*			$@ servername=hostname', `dnl
R$*			$@ servername=hostname')', `dnl
Stls_clt_features
R$*			$@ servername=hostname')

')divert(9)undivert(92)
divert(-1)
dnl replaced above by rules that add the server name
ifdef(`_MTASTS_NO_SNI_', `', `undefine(`_TLS_SESSION_FEATURES_')')
')
divert(-1)
