# cluster.sh: a part of platforms.sh, which sets the versions: istiod, the agent of its sidecars,
# kube-apiserver and etcd.
# shellcheck shell=sh disable=SC2154

built() { [ -x "$folder/bin/$1" ]; }

# Kubernetes' and etcd's programs cannot be installed by their paths, because their modules replace
# others by folders. This module has the published ones instead.
module=$folder/kubernetes
if ! { built etcd && built kubectl && built kube-apiserver; } && [ ! -f "$module/go.sum" ]; then
    source=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    rm -rf "$module"
    mkdir -p "$module"
    {
        printf 'module cluster\n\ngo 1.26.0\n\nreplace (\n'
        sed -n '/^replace (/,/^)/s/^\t\(.*\) => .*/\1/p' "$source/go.mod" |
            sed "s/.*/\t& => & v0.${kubernetes#*.}/"
        echo ')'
    } >"$module/go.mod"
    build "the list of modules" go -C "$module" get -tool "k8s.io/kubernetes/cmd/kube-apiserver@v$kubernetes" \
        "k8s.io/kubernetes/cmd/kubectl@v$kubernetes" "go.etcd.io/etcd/server/v3@$etcd"
fi
built etcd || build etcd go -C "$module" build -ldflags '-s -w' -o "$folder/bin/etcd" go.etcd.io/etcd/server/v3
for program in kubectl kube-apiserver; do
    built $program ||
        build $program go -C "$module" build -ldflags '-s -w' -o "$folder/bin/$program" "k8s.io/kubernetes/cmd/$program"
done
for program in pilot/cmd/pilot-agent pilot/cmd/pilot-discovery istioctl/cmd/istioctl; do
    built "${program##*/}" || build "${program##*/}" go install -ldflags '-s -w' "istio.io/istio/$program@$istio"
done
# Where its manifests and the template of Envoy's bootstrap are.
go mod download "istio.io/istio@$istio"
ln -sfn "go/mod/istio.io/istio@$istio" "$folder/istio"
gateway_api=$(sed -n 's/^\tsigs.k8s.io\/gateway-api \(v[^ ]*\).*/\1/p' "$folder/istio/go.mod")
go mod download "sigs.k8s.io/gateway-api@$gateway_api"
ln -sfn "go/mod/sigs.k8s.io/gateway-api@$gateway_api" "$folder/gateway-api"
