#!/bin/sh
# Load clients other than trapless's own, from Debian or Ubuntu:
#   wrk      what `trapless bench http` and `bench express` use when it is there
#   ab       (apache2-utils) FlexSC's own client, to compare by hand:
#              ab -k -c 64 -n 200000 http://127.0.0.1:PORT/
#   dnsperf  a second opinion on `trapless bench dns`, by hand (it tells no percentiles):
#              echo 'www.example.com A' | dnsperf -s 127.0.0.1 -p PORT -c 64 -q 64 -l 3
# TCP has no such client; native/bench/load.c is compiled when it is needed.
set -eu
command -v apt-get >/dev/null || { echo "install-clients: needs apt-get; install wrk yourself" >&2; exit 1; }
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update
$as_root apt-get install --yes --no-install-recommends wrk apache2-utils dnsperf
