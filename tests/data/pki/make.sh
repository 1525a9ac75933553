#!/bin/sh
# Makes the files of this folder anew (OpenSSL 3). The keys are for tests alone.
set -eu
cd "$(dirname "$0")"
days=36500
ext() { printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
    "extendedKeyUsage=1.3.6.1.5.5.7.3.17" "subjectAltName=$1"; }

openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa-ca.key
openssl req -x509 -new -key rsa-ca.key -sha256 -days $days -subj "/C=CH/O=Example/CN=RSA test CA" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" -out rsa-ca.pem

leaf() { # name, digest
    openssl req -new -key "$1.key" -subj "/C=CH/O=Example/CN=$1.example.com" -out "$1.csr"
    ext "DNS:$1.example.com" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA rsa-ca.pem -CAkey rsa-ca.key "-$2" -days $days -extfile "$1.ext" \
        -set_serial "0x$(openssl rand -hex 8 | sed 's/^./4/')" -out "$1.pem" 2>/dev/null
    rm "$1.csr" "$1.ext"
}
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out rsa-short.key
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out rsa-exponent-3.key
openssl genpkey -quiet -algorithm ED25519 -out ed25519.key
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.key
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.key
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key
for name in rsa rsa-short rsa-exponent-3 ed25519 p256 p384 p521; do leaf $name sha256; done
cp rsa.key sha1.key && leaf sha1 sha1 && rm sha1.key

openssl rsa -in rsa.key -traditional -out rsa-pkcs1.key 2>/dev/null
openssl ec -in p256.key -out p256-sec1.key 2>/dev/null
openssl ec -in p384.key -out p384-sec1.key 2>/dev/null
openssl pkcs8 -topk8 -in rsa.key -v2 aes-256-cbc -passout pass:secret -out rsa-encrypted.key
openssl pkcs8 -topk8 -in p256.key -scrypt -passout pass:secret -out p256-encrypted.key
openssl pkcs8 -topk8 -in ed25519.key -v2 aes-128-cbc -v2prf hmacWithSHA256 -passout pass:secret -out ed25519-encrypted.key
openssl rsa -in rsa.key -traditional -aes128 -passout pass:secret -out rsa-traditional-encrypted.key 2>/dev/null
openssl pkey -in p256.key -outform DER -out p256.key.der

printf 'the octets that are signed' > message
for hash in sha1 sha256 sha384 sha512; do openssl dgst "-$hash" -sign rsa.key -out "rsa-pkcs1-$hash.sig" message; done
openssl dgst -sha256 -sign rsa.key -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -out rsa-pss-sha256.sig message
openssl dgst -sha256 -sign rsa.key -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20 -out rsa-pss-sha256-salt20.sig message
openssl dgst -sha512 -sign p521.key -out p521.sig message
