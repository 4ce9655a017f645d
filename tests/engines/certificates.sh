# shellcheck shell=bash disable=SC2154
# Who is who in the cluster of the tests: an authority of its own, and a certificate for each of its parts, with the kubeconfig that names it.
# Sourced by `kubernetes`.

pki="$run/pki"
curve=(-algorithm EC -pkeyopt ec_paramgen_curve:prime256v1)

# certificate NAME SUBJECT USAGE [ALTERNATIVE NAMES]
certificate() {
    openssl genpkey "${curve[@]}" -out "$pki/$1.key"
    openssl req -new -key "$pki/$1.key" -subj "$2" -out "$pki/$1.csr"
    printf 'keyUsage=digitalSignature\nextendedKeyUsage=%s\n%s' "$3" "${4:+subjectAltName=$4}" > "$pki/$1.extensions"
    openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -extfile "$pki/$1.extensions" -out "$pki/$1.crt"
}

# user NAME SUBJECT : a client, and its kubeconfig
user() {
    certificate "$1" "$2" clientAuth
    cat > "$run/$1.kubeconfig" << YAML
apiVersion: v1
kind: Config
clusters: [{ name: runner-test, cluster: { server: "https://127.0.0.1:$port", certificate-authority-data: "$(base64 -w0 "$pki/ca.crt")" } }]
users: [{ name: $1, user: { client-certificate-data: "$(base64 -w0 "$pki/$1.crt")", client-key-data: "$(base64 -w0 "$pki/$1.key")" } }]
contexts: [{ name: runner-test, context: { cluster: runner-test, user: $1 } }]
current-context: runner-test
YAML
}

certificates() {
    (
        umask 077
        mkdir -p "$pki"
        openssl genpkey "${curve[@]}" -out "$pki/ca.key"
        openssl req -x509 -new -key "$pki/ca.key" -days 3650 -subj /CN=runner-test -out "$pki/ca.crt"
        openssl genpkey "${curve[@]}" -out "$pki/sa.key"
        openssl pkey -in "$pki/sa.key" -pubout -out "$pki/sa.pub"
        certificate apiserver /CN=kube-apiserver serverAuth \
            "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:${services%.0/*}.1,IP:$address"
        certificate kubelet-server /CN=node0 serverAuth "DNS:node0,IP:$address"
        certificate apiserver-kubelet /O=system:masters/CN=apiserver-kubelet clientAuth
        user admin /O=system:masters/CN=runner-test-admin
        user controller-manager /CN=system:kube-controller-manager
        user scheduler /CN=system:kube-scheduler
        user proxy /CN=system:kube-proxy
        user kubelet /O=system:nodes/CN=system:node:node0
    ) > "$log" 2>&1 || fail "openssl can't make certificates: $(tail -n 1 "$log")"
}
