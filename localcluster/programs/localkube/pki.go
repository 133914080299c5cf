package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Who gets a kubeconfig: file name, user name, groups. The names are those that Kubernetes' own
// RBAC roles are bound to; coredns and volumes get theirs from the manifests.
var clients = []struct{ file, user, group string }{
	{"admin", "admin", "system:masters"},
	{"controller-manager", "system:kube-controller-manager", ""},
	{"scheduler", "system:kube-scheduler", ""},
	{"proxy", "system:kube-proxy", ""},
	{"coredns", "local:coredns", ""},
	{"volumes", "local:volumes", ""},
}

type authority struct {
	dir    string
	server string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	caPEM  []byte
}

// writePKI makes a new certificate authority and everything that it signs for one cluster.
func writePKI(args []string) error {
	flags := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := flags.String("dir", "", "folder to write into")
	cluster := flags.String("cluster", "", "name of the cluster, for the kubeconfigs")
	node := flags.String("node", "", "name of the node")
	address := flags.String("address", "", "address of the node")
	service := flags.String("service", "", "address of the service kubernetes.default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ca, err := newAuthority(*dir, "https://"+*address+":6443")
	if err != nil {
		return err
	}
	nodeIP, serviceIP := net.ParseIP(*address), net.ParseIP(*service)
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local"}
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	addresses := []net.IP{nodeIP, serviceIP, net.IPv4(127, 0, 0, 1)}
	if err := ca.file("apiserver", &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: server,
		DNSNames: names, IPAddresses: addresses}); err != nil {
		return err
	}
	if err := ca.file("kubelet", &x509.Certificate{
		Subject: pkix.Name{CommonName: *node}, ExtKeyUsage: server,
		DNSNames: []string{*node}, IPAddresses: []net.IP{nodeIP}}); err != nil {
		return err
	}
	if err := ca.file("kubelet-client", clientCert("local:kubelet-client", "")); err != nil {
		return err
	}
	if err := ca.kubeconfig(*cluster, "node", "system:node:"+*node, "system:nodes"); err != nil {
		return err
	}
	for _, c := range clients {
		if err := ca.kubeconfig(*cluster, c.file, c.user, c.group); err != nil {
			return err
		}
	}
	return serviceAccountKey(*dir)
}

func newAuthority(dir, server string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	ca := &authority{dir: dir, server: server, cert: template, key: key}
	certPEM, err := ca.sign(template, key.Public())
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(certPEM)
	if ca.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, err
	}
	ca.caPEM = certPEM
	return ca, os.WriteFile(filepath.Join(dir, "ca.crt"), certPEM, 0o644)
}

func (ca *authority) sign(template *x509.Certificate, key crypto.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().AddDate(10, 0, 0)
	if template.KeyUsage == 0 {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func clientCert(user, group string) *x509.Certificate {
	subject := pkix.Name{CommonName: user}
	if group != "" {
		subject.Organization = []string{group}
	}
	return &x509.Certificate{
		Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

// pair makes a key and a certificate for it, both PEM.
func (ca *authority) pair(template *x509.Certificate) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if cert, err = ca.sign(template, private.Public()); err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(private)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}

func (ca *authority) file(name string, template *x509.Certificate) error {
	cert, key, err := ca.pair(template)
	if err != nil {
		return err
	}
	base := filepath.Join(ca.dir, name)
	if err := os.WriteFile(base+".crt", cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".key", key, 0o600)
}

func (ca *authority) kubeconfig(cluster, file, user, group string) error {
	cert, key, err := ca.pair(clientCert(user, group))
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{
		Server: ca.server, CertificateAuthorityData: ca.caPEM}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{
		ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	config.CurrentContext = cluster
	return clientcmd.WriteToFile(*config, filepath.Join(ca.dir, file+".kubeconfig"))
}

// serviceAccountKey writes the key that signs service account tokens, and its public half.
func serviceAccountKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"sa.key": {Type: "EC PRIVATE KEY", Bytes: private},
		"sa.pub": {Type: "PUBLIC KEY", Bytes: public},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
