#!/usr/bin/env bash
# Builds a kube-apiserver for apps/orchestrator/test/chart.long.test.ts, of Debian's packages alone: the source of Kubernetes 1.20.2 of
# Debian 12 (later releases of Debian have no source of an API server) and the compiler of Debian 11 that belongs to it.
#   scripts/kube-apiserver.sh FOLDER
#   ESPALIER_KUBE_APISERVER=FOLDER/kube-apiserver npx jest dist/apps/orchestrator/test/chart.long.test.js
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$folder/lists" "$folder/packages"
cd "$folder/packages"
# The mirror is the one that this machine uses.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')
printf '%s [signed-by='"$keys"'] '"$mirror"' %s main\n' deb-src bookworm deb bullseye > ../sources.list
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$folder/lists" "$@"
}
apt update
apt source --download-only kubernetes
apt download golang-1.15-go golang-1.15-src
for package in golang-1.15-*.deb; do dpkg -x "$package" ../go; done
mkdir -p ../path/src/k8s.io/kubernetes
tar -xzf kubernetes_*.orig.tar.gz -C ../path/src/k8s.io/kubernetes --strip-components 1
export GOROOT="$folder/go/usr/lib/go-1.15" GOPATH="$folder/path" GO111MODULE=off GOCACHE="$folder/cache" CGO_ENABLED=0
cd "$GOPATH/src/k8s.io/kubernetes"
# The description of the API is made from the sources, as Kubernetes' own makefile does.
"$GOROOT/bin/go" build -o "$folder/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
described=$(grep -rl --include='*.go' '+k8s:openapi-gen=' staging/src/k8s.io pkg |
  grep -vE '_test|/code-generator/|/sample-apiserver/|kube-openapi|/testdata/' | xargs -n1 dirname | sort -u |
  sed 's#^staging/src/k8s.io#k8s.io/kubernetes/vendor/k8s.io#; s#^pkg#k8s.io/kubernetes/pkg#' | paste -sd,)
PATH="$GOROOT/bin:$PATH" "$folder/openapi-gen" -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -i "$described" \
  -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi -r "$folder/violations" 2> /dev/null
"$GOROOT/bin/go" build -ldflags '-s -w' -o "$folder/kube-apiserver" ./cmd/kube-apiserver
