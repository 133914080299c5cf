// Command localkube holds every program of a one-node Kubernetes: the first argument, or the name
// it is called by, says which one to be.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Programs that are commands of their own, each with its flags.
var cobraPrograms = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kube-proxy":              kubeproxy.NewProxyCommand,
	"kubectl":                 func() *cobra.Command { return kubectl.NewDefaultKubectlCommand() },
}

// Small helpers of this cluster.
var helpers = map[string]func(args []string) error{
	"pki":     writePKI,
	"gpus":    serveGPUs,
	"volumes": provisionVolumes,
}

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args
	if name == "localkube" && len(args) > 1 {
		name, args = args[1], args[1:]
	}
	os.Args = args
	switch {
	case name == "etcd":
		etcdmain.Main(args)
	case name == "coredns":
		dnsserver.Directives = []string{"bind", "errors", "kubernetes"}
		coremain.Run()
	case cobraPrograms[name] != nil:
		os.Exit(cli.Run(cobraPrograms[name]()))
	case helpers[name] != nil:
		if err := helpers[name](args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "localkube has no program %q\n", name)
		os.Exit(2)
	}
}
