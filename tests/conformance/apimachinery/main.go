// Runs Kubernetes' own end-to-end tests of the API machinery, and those of the kinds served here that need no container,
// against the cluster that --kubeconfig names. The flags are those of Kubernetes' e2e.test (--ginkgo.focus, --ginkgo.skip, …).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"

	_ "k8s.io/kubernetes/test/e2e/apimachinery"
	_ "k8s.io/kubernetes/test/e2e/auth"
	_ "k8s.io/kubernetes/test/e2e/common/node"
	_ "k8s.io/kubernetes/test/e2e/instrumentation"
	_ "k8s.io/kubernetes/test/e2e/network"
)

type outcome struct{ failed bool }

// Fail is what Ginkgo calls once when any test has failed.
func (o *outcome) Fail() { o.failed = true }

var _ = ginkgo.BeforeSuite(func(ctx context.Context) {
	framework.TestContext.IPFamily = "ipv4"
})

func main() {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "apimachinery: unknown argument %q. Give flags only.\n", flag.Arg(0))
		os.Exit(2)
	}
	framework.AfterReadingAllFlags(&framework.TestContext)
	gomega.RegisterFailHandler(framework.Fail)
	suite, reporter := framework.CreateGinkgoConfig()
	var told outcome
	ginkgo.RunSpecs(&told, "Kubernetes API machinery", suite, reporter)
	if told.failed {
		os.Exit(1)
	}
}
