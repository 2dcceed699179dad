#!/bin/sh
# A certificate authority and a server certificate for the TLS example and its test: scripts/certificates.sh DIR
#
# Makes ca.pem, redis.pem and redis.key (for the name redis.internal and the address 127.0.0.1), unless they exist.
set -eu
dir=$1
if [ -e "$dir/redis.pem" ]; then exit 0; fi
mkdir -p "$dir"
cd "$dir"
exec 2>openssl.log
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=headgate-example-ca -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=redis.internal -keyout redis.key -out redis.csr
printf 'subjectAltName=DNS:redis.internal,IP:127.0.0.1\n' >redis.ext
openssl x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile redis.ext -out redis.next
mv redis.next redis.pem
