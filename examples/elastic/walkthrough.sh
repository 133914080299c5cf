#!/bin/bash
# Both examples by hand, on the cluster of KUBECONFIG. Prints each command and what came of it:
#
#   examples/elastic/walkthrough.sh > docs/kubectl-transcript.txt
#
# Leaves nothing but the kinds.
set -eu
cd "$(dirname "$0")/../.."
kubectl() { "${KUBECTL:-kubectl}" "$@"; }

run() { # COMMAND: print it, then run it
    printf '$ %s\n' "${1//${KUBECTL:-kubectl}/kubectl}"
    eval "$1" 2>&1
    echo
}

say() { printf '# %s\n' "$*"; }

say "The service without a hub, once for the cluster"
run "kubectl apply -f crds/"
run "kubectl wait --for=condition=Established -f crds/"
run "kubectl apply -f helm-values/standalone.yaml"
run "kubectl -n elastic-system rollout status deployment/elastic-service"

say "A notebook and its gateway"
run "kubectl apply -f examples/elastic/"
run "kubectl wait --for=condition=Available --timeout=120s jg/jupytergateway-elastic jn/jupyternotebook-elastic"
run "kubectl get jn,jg"
say "In a browser: kubectl port-forward deploy/jupyternotebook-elastic 8888:8888, then http://localhost:8888"
say "Here, the same requests by a program:"
run "kubectl exec -i deploy/jupyternotebook-elastic -- python - python 'print(6 * 7)' < examples/elastic/run_cell.py"
run "kubectl get pods"
run "kubectl get jk,jg"
say "A notebook takes its kernels along"
run "kubectl delete -f examples/elastic/"
run "kubectl wait --for=delete jk --all --timeout=60s"

say "A kernel of one's own, which ends after ten idle seconds"
run "kubectl apply -f examples/elastic-with-custom-kernels/"
run "kubectl wait --for=condition=Available --timeout=120s jg/jupytergateway-elastic-with-custom-kernels jn/jupyternotebook-elastic-with-custom-kernels"
run "kubectl exec -i deploy/jupyternotebook-elastic-with-custom-kernels -- python - python-kubernetes 'import socket; print(socket.gethostname())' < examples/elastic/run_cell.py"
run "kubectl get pods -l app=enterprise-gateway"
run "timeout 20 ${KUBECTL:-kubectl} get jk --watch || true"
run "kubectl get pods -l app=enterprise-gateway"

say "And away with all of it"
run "kubectl delete -f examples/elastic-with-custom-kernels/"
run "kubectl delete -f helm-values/standalone.yaml"
