#!/bin/sh
# Made the certificates beside this file, once: a CA, two for localhost and 127.0.0.1, one that has expired,
# and one for another host. No test runs it. The key of the CA was not kept.
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
touch "$work/index" && echo 01 > "$work/serial"
cat > "$work/ca.cnf" <<CNF
[ca]
default_ca = tests
[tests]
dir = $work
database = $work/index
serial = $work/serial
new_certs_dir = $work
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = dn
[dn]
CNF
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
sign() { # NAME SUBJECT FROM TO EXTENSION...
  name=$1 subject=$2 begin=$3 end=$4; shift 4
  extensions=; for each; do extensions="$extensions -addext $each"; done
  openssl req -new -config "$work/ca.cnf" -key "$name-key.pem" -subj "/CN=$subject" $extensions -out "$work/$name.csr"
  openssl ca -batch -notext -config "$work/ca.cnf" -keyfile ca-key.pem ${signer:--cert ca.pem} -startdate "$begin" -enddate "$end" -in "$work/$name.csr" -out "$name.pem"
}
here=subjectAltName=DNS:localhost,IP:127.0.0.1
from=20200101000000Z to=21260101000000Z
key ca-key.pem
signer=-selfsign sign ca 'Tailrace tests' $from $to basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign
for name in server other expired elsewhere; do key "$name-key.pem"; done
sign server localhost $from $to $here
sign other localhost $from 21250101000000Z $here
sign expired localhost $from 20210101000000Z $here
sign elsewhere elsewhere.example $from $to subjectAltName=DNS:elsewhere.example
rm -r "$work" ca-key.pem

