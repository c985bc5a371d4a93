// Command clientgo tries an API server with client-go as controllers use it: typed and dynamic informers, leader election,
// server-side apply, paging, optimistic locking, discovery. It ends with 1 at the first check that fails.
//
//	clientgo KUBECONFIG
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"
)

const (
	namespace = "clientgo"
	patience  = 60 * time.Second
)

var services = schema.GroupVersionResource{Group: "serving.kserve.io", Version: "v1beta1", Resource: "inferenceservices"}

type world struct {
	config   *rest.Config
	clients  *kubernetes.Clientset
	protobuf *kubernetes.Clientset
	dynamic  dynamic.Interface
	metadata metadata.Interface
}

type check struct {
	name string
	run  func(context.Context, *world) error
}

var checks = []check{
	{"discovery lists every group, and a REST mapper finds kinds by short name", findKinds},
	{"a typed informer sees what comes, changes and goes", typedInformer},
	{"a dynamic informer sees InferenceServices", dynamicInformer},
	{"a metadata-only list and watch", metadataOnly},
	{"a streamed list (sendInitialEvents) ends with its bookmark", watchList},
	{"a list in pages is whole, and its pages are of one version", pages},
	{"a watch from a version on tells what came after it", watchFrom},
	{"a retried update wins where two write at once", conflicts},
	{"server-side apply: ownership, conflict, force", apply},
	{"patches of every kind", patches},
	{"deletion: preconditions, foreground, finalizers", deletion},
	{"a Lease is held by one of two candidates", election},
	{"clients that speak protocol buffers", speakProtobuf},
	{"a RetryWatcher outlives the end of a watch", retryWatcher},
	{"a namespace goes with all that is in it", namespaceGoes},
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		fail("kubeconfig", err)
	}
	config.QPS, config.Burst = 1000, 1000
	binary := rest.CopyConfig(config)
	binary.ContentType = runtime.ContentTypeProtobuf
	binary.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	w := &world{
		config:   config,
		clients:  kubernetes.NewForConfigOrDie(config),
		protobuf: kubernetes.NewForConfigOrDie(binary),
		dynamic:  dynamic.NewForConfigOrDie(config),
		metadata: metadata.NewForConfigOrDie(config),
	}
	ctx := context.Background()
	home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := w.clients.CoreV1().Namespaces().Create(ctx, home, metav1.CreateOptions{}); err != nil {
		fail("namespace", err)
	}
	for _, one := range checks {
		limited, cancel := context.WithTimeout(ctx, 2*patience)
		err := one.run(limited, w)
		cancel()
		if err != nil {
			fail(one.name, err)
		}
		fmt.Println("ok  ", one.name)
	}
}

func fail(name string, err error) {
	fmt.Printf("FAIL %s: %v\n", name, err)
	os.Exit(1)
}

func until(ctx context.Context, what string, condition func() bool) error {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		return fmt.Errorf("%s has not come about: %w", what, err)
	}
	return nil
}

func configMap(name string, words ...string) *corev1.ConfigMap {
	data := map[string]string{}
	for i := 0; i+1 < len(words); i += 2 {
		data[words[i]] = words[i+1]
	}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": "clientgo"}}, Data: data}
}

func findKinds(_ context.Context, w *world) error {
	client := discovery.NewDiscoveryClientForConfigOrDie(w.config)
	groups, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		return err
	}
	if len(groups) < 8 || len(lists) < 8 {
		return fmt.Errorf("%d groups, %d lists", len(groups), len(lists))
	}
	if _, err := client.ServerPreferredResources(); err != nil {
		return err
	}
	if _, err := client.OpenAPIV3().Paths(); err != nil {
		return err
	}
	// OpenAPI v2 is there as JSON; as the protocol buffer that client-go takes it names no kind, since v3 has them.
	document, err := client.OpenAPISchema()
	if err != nil {
		return fmt.Errorf("OpenAPI v2: %w", err)
	}
	if document.GetSwagger() != "2.0" || document.GetInfo().GetTitle() == "" {
		return fmt.Errorf("OpenAPI v2: %v", document)
	}
	cached := memory.NewMemCacheClient(client)
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	found, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: "isvc"})
	if err != nil {
		return err
	}
	if found != services {
		return fmt.Errorf("isvc is %v", found)
	}
	return nil
}

func typedInformer(ctx context.Context, w *world) error {
	var added, updated, deleted atomic.Int32
	factory := informers.NewSharedInformerFactoryWithOptions(w.clients, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps()
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { added.Add(1) },
		UpdateFunc: func(any, any) { updated.Add(1) },
		DeleteFunc: func(any) { deleted.Add(1) },
	})
	if err != nil {
		return err
	}
	api := w.clients.CoreV1().ConfigMaps(namespace)
	if _, err := api.Create(ctx, configMap("before"), metav1.CreateOptions{}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("%v has not synced", kind)
		}
	}
	if _, err := informer.Lister().ConfigMaps(namespace).Get("before"); err != nil {
		return err
	}
	for i := range 100 {
		if _, err := api.Create(ctx, configMap(fmt.Sprintf("a%03d", i)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	changed := configMap("before", "k", "v")
	if _, err := api.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return err
	}
	err = api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "of=clientgo"})
	if err != nil {
		return err
	}
	return until(ctx, "101 additions, an update, 101 deletions", func() bool {
		left, _ := informer.Lister().List(labels.Everything())
		return added.Load() >= 101 && updated.Load() >= 1 && deleted.Load() == 101 && len(left) == 0
	})
}

func service(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
		"metadata": map[string]any{"name": name, "annotations": map[string]any{"serving.kserve.io/stop": "true"}},
		"spec": map[string]any{"predictor": map[string]any{"model": map[string]any{
			"modelFormat": map[string]any{"name": "sklearn"}, "storageUri": "file:///models/iris",
		}}},
	}}
}

func dynamicInformer(ctx context.Context, w *world) error {
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(w.dynamic, 0, namespace, nil)
	informer := factory.ForResource(services)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	api := w.dynamic.Resource(services).Namespace(namespace)
	created, err := api.Create(ctx, service("iris"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	status := created.DeepCopy()
	status.Object["status"] = map[string]any{"url": "http://iris.example.com"}
	if _, err := api.UpdateStatus(ctx, status, metav1.UpdateOptions{}); err != nil {
		return err
	}
	err = until(ctx, "the status in the informer", func() bool {
		found, err := informer.Lister().ByNamespace(namespace).Get("iris")
		if err != nil {
			return false
		}
		url, _, _ := unstructured.NestedString(found.(*unstructured.Unstructured).Object, "status", "url")
		return url == "http://iris.example.com"
	})
	if err != nil {
		return err
	}
	return api.Delete(ctx, "iris", metav1.DeleteOptions{})
}

func metadataOnly(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	if _, err := api.Create(ctx, configMap("meta", "big", "data"), metav1.CreateOptions{}); err != nil {
		return err
	}
	resource := corev1.SchemeGroupVersion.WithResource("configmaps")
	list, err := w.metadata.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(list.Items) != 1 || list.Items[0].Name != "meta" {
		return fmt.Errorf("got %v", list.Items)
	}
	watcher, err := w.metadata.Resource(resource).Namespace(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	if err := api.Delete(ctx, "meta", metav1.DeleteOptions{}); err != nil {
		return err
	}
	event := <-watcher.ResultChan()
	if _, is := event.Object.(*metav1.PartialObjectMetadata); !is || event.Type != watch.Deleted {
		return fmt.Errorf("got %v %T", event.Type, event.Object)
	}
	return nil
}

func watchList(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	for i := range 3 {
		if _, err := api.Create(ctx, configMap(fmt.Sprintf("w%d", i)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	yes := true
	watcher, err := api.Watch(ctx, metav1.ListOptions{
		SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	seen := 0
	for event := range watcher.ResultChan() {
		object, err := meta.Accessor(event.Object)
		if err != nil {
			return err
		}
		if event.Type == watch.Bookmark {
			if object.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" || seen != 3 {
				return fmt.Errorf("bookmark %v after %d", object.GetAnnotations(), seen)
			}
			return api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		}
		seen++
	}
	return errors.New("the watch ended without a bookmark")
}

func pages(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	for i := range 55 {
		if _, err := api.Create(ctx, configMap(fmt.Sprintf("p%02d", i)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	versions := map[string]bool{}
	pager := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		list, err := api.List(ctx, options)
		if err == nil {
			versions[list.ResourceVersion] = true
			if options.Continue == "" { // what comes between two pages is in none
				_, err = api.Create(ctx, configMap("p00x"), metav1.CreateOptions{})
			}
		}
		return list, err
	})
	pager.PageSize = 10
	count := 0
	err := pager.EachListItem(ctx, metav1.ListOptions{}, func(runtime.Object) error { count++; return nil })
	if err != nil {
		return err
	}
	if count != 55 || len(versions) != 1 {
		return fmt.Errorf("%d objects of versions %v", count, versions)
	}
	first, err := api.List(ctx, metav1.ListOptions{Limit: 10})
	if err != nil {
		return err
	}
	if first.RemainingItemCount == nil || *first.RemainingItemCount != 46 {
		return fmt.Errorf("remaining: %v", first.RemainingItemCount)
	}
	exact := metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}
	if err := api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	then, err := api.List(ctx, exact)
	if err != nil {
		return err
	}
	if len(then.Items) != 56 || then.ResourceVersion != first.ResourceVersion {
		return fmt.Errorf("as it was: %d at %s", len(then.Items), then.ResourceVersion)
	}
	_, err = api.List(ctx, metav1.ListOptions{ResourceVersion: "99999999", ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		return fmt.Errorf("a version that is still to come: %v", err)
	}
	return nil
}

func watchFrom(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if _, err := api.Create(ctx, configMap("from"), metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := api.Delete(ctx, "from", metav1.DeleteOptions{}); err != nil {
		return err
	}
	limit := int64(1)
	watcher, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, TimeoutSeconds: &limit})
	if err != nil {
		return err
	}
	var types []watch.EventType
	for event := range watcher.ResultChan() {
		types = append(types, event.Type)
	}
	if fmt.Sprint(types) != "[ADDED DELETED]" {
		return fmt.Errorf("got %v", types)
	}
	return nil
}

func conflicts(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	old, err := api.Create(ctx, configMap("counter", "n", "0"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	old.Data["n"] = "1"
	if _, err := api.Update(ctx, old, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err := api.Update(ctx, old, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a stale update: %v", err)
	}
	results := make(chan error, 4)
	for range 4 {
		go func() {
			for range 5 {
				err := retry.RetryOnConflict(wait.Backoff{Steps: 100, Duration: time.Millisecond, Jitter: 1}, func() error {
					found, err := api.Get(ctx, "counter", metav1.GetOptions{})
					if err != nil {
						return err
					}
					found.Data["n"] += "x"
					_, err = api.Update(ctx, found, metav1.UpdateOptions{})
					return err
				})
				if err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	for range 4 {
		if err := <-results; err != nil {
			return err
		}
	}
	found, err := api.Get(ctx, "counter", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(found.Data["n"]) != 21 {
		return fmt.Errorf("lost updates: %q", found.Data["n"])
	}
	return nil
}

func apply(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	mine := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"a": "1", "b": "1"})
	if _, err := api.Apply(ctx, mine, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return err
	}
	theirs := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"b": "2", "c": "2"})
	_, err := api.Apply(ctx, theirs, metav1.ApplyOptions{FieldManager: "two"})
	if !apierrors.IsConflict(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return fmt.Errorf("no conflict: %v", err)
	}
	if _, err := api.Apply(ctx, theirs, metav1.ApplyOptions{FieldManager: "two", Force: true}); err != nil {
		return err
	}
	empty := applycorev1.ConfigMap("applied", namespace)
	found, err := api.Apply(ctx, empty, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		return err
	}
	if fmt.Sprint(found.Data) != "map[b:2 c:2]" {
		return fmt.Errorf("got %v", found.Data)
	}
	extracted, err := applycorev1.ExtractConfigMap(found, "two")
	if err != nil {
		return err
	}
	if fmt.Sprint(extracted.Data) != "map[b:2 c:2]" {
		return fmt.Errorf("extracted %v", extracted.Data)
	}
	return nil
}

func patches(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	if _, err := api.Create(ctx, configMap("patched", "a", "1"), metav1.CreateOptions{}); err != nil {
		return err
	}
	for kind, body := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"add","path":"/data/json","value":"1"}]`,
		types.MergePatchType:          `{"data":{"merge":"1"}}`,
		types.StrategicMergePatchType: `{"data":{"strategic":"1","a":null}}`,
	} {
		if _, err := api.Patch(ctx, "patched", kind, []byte(body), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	found, err := api.Get(ctx, "patched", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got, _ := json.Marshal(found.Data); string(got) != `{"json":"1","merge":"1","strategic":"1"}` {
		return fmt.Errorf("got %s", got)
	}
	dry, err := api.Patch(ctx, "patched", types.MergePatchType, []byte(`{"data":{"dry":"1"}}`), metav1.PatchOptions{DryRun: []string{"All"}})
	if err != nil || dry.Data["dry"] != "1" {
		return fmt.Errorf("dry run: %v %v", dry, err)
	}
	found, err = api.Get(ctx, "patched", metav1.GetOptions{})
	if err != nil || found.Data["dry"] != "" {
		return fmt.Errorf("a dry run was written: %v", err)
	}
	return nil
}

func deletion(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	owner := configMap("owner")
	owner.Finalizers = []string{"example.org/hold"}
	made, err := api.Create(ctx, owner, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	wrong, wrongVersion := types.UID("another"), "1"
	for _, bad := range []metav1.Preconditions{{UID: &wrong}, {ResourceVersion: &wrongVersion}} {
		if err := api.Delete(ctx, "owner", metav1.DeleteOptions{Preconditions: &bad}); !apierrors.IsConflict(err) {
			return fmt.Errorf("a wrong precondition: %v", err)
		}
	}
	foreground := metav1.DeletePropagationForeground
	if err := api.Delete(ctx, "owner", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &made.UID}, PropagationPolicy: &foreground}); err != nil {
		return err
	}
	held, err := api.Get(ctx, "owner", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if held.DeletionTimestamp == nil || fmt.Sprint(held.Finalizers) != "[example.org/hold foregroundDeletion]" {
		return fmt.Errorf("%v %v", held.DeletionTimestamp, held.Finalizers)
	}
	held.Finalizers = append(held.Finalizers, "example.org/late")
	if _, err := api.Update(ctx, held, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
		return fmt.Errorf("a finalizer on what is going: %v", err)
	}
	// Not the controllers are tried here but the API: it goes when the last finalizer does.
	if _, err := api.Patch(ctx, "owner", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if _, err := api.Get(ctx, "owner", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("still there: %v", err)
	}
	return nil
}

func election(ctx context.Context, w *world) error {
	leaders := make(chan string, 2)
	for _, name := range []string{"one", "two"} {
		lock := &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: namespace},
			Client:     w.clients.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		limited, cancel := context.WithCancel(ctx)
		defer cancel()
		go leaderelection.RunOrDie(limited, leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 2 * time.Second, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leaders <- name; cancel() },
				OnStoppedLeading: func() {},
			},
		})
	}
	first, second := <-leaders, <-leaders
	if first == second {
		return fmt.Errorf("%s led twice", first)
	}
	return nil
}

func speakProtobuf(ctx context.Context, w *world) error {
	api := w.protobuf.CoreV1().ConfigMaps(namespace)
	made, err := api.Create(ctx, configMap("binary", "a", "ö"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if made.Data["a"] != "ö" {
		return fmt.Errorf("got %v", made.Data)
	}
	list, err := api.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=binary"})
	if err != nil || len(list.Items) != 1 {
		return fmt.Errorf("%v %v", list, err)
	}
	uid := made.UID
	return api.Delete(ctx, "binary", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
}

func retryWatcher(ctx context.Context, w *world) error {
	api := w.clients.CoreV1().ConfigMaps(namespace)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	limit := int64(1)
	watcher, err := toolswatch.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.TimeoutSeconds = &limit
			return api.Watch(ctx, options)
		},
	})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	time.Sleep(1500 * time.Millisecond) // the first watch has ended by then
	if _, err := api.Create(ctx, configMap("late"), metav1.CreateOptions{}); err != nil {
		return err
	}
	event := <-watcher.ResultChan()
	if event.Type != watch.Added {
		return fmt.Errorf("got %v", event)
	}
	return nil
}

func namespaceGoes(ctx context.Context, w *world) error {
	if err := w.clients.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	_, err := w.clients.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("late"), metav1.CreateOptions{})
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("something new in it: %v", err)
	}
	return until(ctx, "the namespace's end", func() bool {
		_, err := w.clients.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}
