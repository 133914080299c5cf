package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

// The storage class names this provisioner; Kubernetes writes the name on claims that want it.
const provisioner = "elastic-kernels/folder"

// volumeController gives each claim of the class a folder on the node as a local volume, and
// removes the folder when the claim is gone. Work is queued by the name of the volume, which
// comes from the claim's uid.
type volumeController struct {
	client kubernetes.Interface
	claims cache.Indexer
	queue  workqueue.TypedRateLimitingInterface[string]
	dir    string
	node   string
}

const byVolume = "volume"

func volumeName(claim *v1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

func provisionVolumes(args []string) error {
	flags := flag.NewFlagSet("volumes", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
	dir := flags.String("dir", "", "folder of the volumes")
	node := flags.String("node", "", "node that the volumes are on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	if err := claims.AddIndexers(cache.Indexers{byVolume: func(o any) ([]string, error) {
		return []string{volumeName(o.(*v1.PersistentVolumeClaim))}, nil
	}}); err != nil {
		return err
	}
	c := &volumeController{client: client, claims: claims.GetIndexer(), dir: *dir, node: *node,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.DefaultTypedControllerRateLimiter[string]())}
	add := func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		switch o := object.(type) {
		case *v1.PersistentVolumeClaim:
			c.queue.Add(volumeName(o))
		case *v1.PersistentVolume:
			c.queue.Add(o.Name)
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: add, UpdateFunc: func(_, o any) { add(o) }, DeleteFunc: add}
	volumes := factory.Core().V1().PersistentVolumes().Informer()
	for _, informer := range []cache.SharedIndexInformer{claims, volumes} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	ctx := context.Background()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		name, _ := c.queue.Get()
		if err := c.reconcile(ctx, name); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			c.queue.AddRateLimited(name)
		} else {
			c.queue.Forget(name)
		}
		c.queue.Done(name)
	}
}

func (c *volumeController) reconcile(parent context.Context, name string) error {
	ctx, cancel := context.WithTimeout(parent, 10*time.Second)
	defer cancel()
	found, err := c.claims.ByIndex(byVolume, name)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return c.provision(ctx, name, found[0].(*v1.PersistentVolumeClaim))
	}
	volume, err := c.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	// Released: Kubernetes saw the claim go and no pod uses the volume any more.
	if volume.Spec.StorageClassName == "" || volume.Status.Phase != v1.VolumeReleased ||
		volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(c.dir, name)); err != nil {
		return err
	}
	err = c.client.CoreV1().PersistentVolumes().Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *volumeController) provision(
	ctx context.Context, name string, claim *v1.PersistentVolumeClaim,
) error {
	wanted := claim.Annotations["volume.kubernetes.io/storage-provisioner"]
	if wanted != provisioner || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return nil
	}
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Pods that set no fsGroup write too; mkdir's mode was cut by the umask.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			"pv.kubernetes.io/provisioned-by": provisioner}},
		Spec: v1.PersistentVolumeSpec{
			StorageClassName: *claim.Spec.StorageClassName,
			AccessModes:      claim.Spec.AccessModes,
			Capacity: v1.ResourceList{
				v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			// Delete would make Kubernetes look for a plugin of its own; this controller deletes.
			PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimRetain,
			ClaimRef: &v1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn,
						Values: []string{c.node}}}}}}},
		},
	}
	_, err := c.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
