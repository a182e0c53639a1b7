#!/usr/bin/env bash
# Installs the foreign clients of the conformance tests from their registries into target/conformance-clients.
#
# Versions are pinned in the files beside: go.mod and go.sum, package-lock.json, pom.xml with
# dependencies.sha256, requirements.txt. What is installed already, from the same files, is left alone.
# A toolchain that is missing is told loudly; with CI=true it is a failure, and so is an installation that fails.
set -uo pipefail
cd "$(dirname "$0")"

root=$(cd ../.. && pwd)
out=$root/target/conformance-clients
venv=$root/target/conformance-venv
maven_dependency_plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1
mkdir -p "$out"
# Two who install at once would tread on each other.
exec 9>"$out/lock"
flock 9

say() { printf 'conformance clients: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# install NAME TOOLCHAIN FUNCTION FILE…: runs the function unless these very files were installed before.
install() {
    local name=$1 toolchain=$2 function=$3 stamp
    shift 3
    stamp=$(cat "$@" install.sh | sha256sum)
    [ "$(cat "$out/$name.stamp" 2>/dev/null)" = "$stamp" ] && return 0
    if ! have "$toolchain"; then
        say "SKIPPED $name: $toolchain is missing" >&2
        [ "${CI:-}" != true ]
        return
    fi
    local begun=$SECONDS
    if "$function" >"$out/$name.log" 2>&1; then
        echo "$stamp" >"$out/$name.stamp"
        say "$name installed in $((SECONDS - begun)) s"
    else
        tail -n 20 "$out/$name.log" >&2
        say "FAILED: $name could not be installed; see $out/$name.log" >&2
        return 1
    fi
}

# etcdctl 3.6 needs what the client needs, so that both are built once.
install_go() {
    (cd go && go build -mod=readonly -trimpath -o "$out/clientv3" . &&
        go build -mod=readonly -trimpath -o "$out/etcdctl-3.6" go.etcd.io/etcd/etcdctl/v3)
}

install_etcdctl_3_5() {
    (cd etcdctl-3.5 && go build -mod=readonly -trimpath -o "$out/etcdctl-3.5" go.etcd.io/etcd/etcdctl/v3)
}

install_java() {
    rm -rf "$out/jars"
    mvn --quiet --batch-mode --file java/pom.xml "$maven_dependency_plugin:copy-dependencies" \
        -DincludeScope=runtime "-DoutputDirectory=$out/jars" &&
        (cd "$out/jars" && sha256sum --check --strict --quiet ../../../conformance/clients/java/dependencies.sha256) &&
        javac -cp "$out/jars/*" -d "$out/jars" java/JetcdProgram.java
}

install_node() {
    mkdir -p "$out/node" && cp node/package.json node/package-lock.json node/.npmrc "$out/node" &&
        (cd "$out/node" && npm ci --ignore-scripts --no-audit --no-fund)
}

install_python() {
    rm -rf "$venv"
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --requirement python/requirements.txt
}

install go go install_go go/* &
go=$!
failed=0
install python python3 install_python python/requirements.txt || failed=1
install node npm install_node node/package.json node/package-lock.json || failed=1
install java mvn install_java java/* || failed=1
wait "$go" || failed=1
install etcdctl-3.5 go install_etcdctl_3_5 etcdctl-3.5/go.mod etcdctl-3.5/go.sum || failed=1
exit "$failed"
