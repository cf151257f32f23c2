package deploytest

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	run "google.golang.org/api/run/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// scaledObject is KEDA's type, without what we do not use.
type scaledObject struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		ScaleTargetRef  autoscaling.CrossVersionObjectReference `json:"scaleTargetRef"`
		MinReplicaCount *int32                                  `json:"minReplicaCount"`
		MaxReplicaCount *int32                                  `json:"maxReplicaCount"`
		PollingInterval *int32                                  `json:"pollingInterval"`
		CooldownPeriod  *int32                                  `json:"cooldownPeriod"`
		Advanced        struct {
			HorizontalPodAutoscalerConfig struct {
				Behavior autoscaling.HorizontalPodAutoscalerBehavior `json:"behavior"`
			} `json:"horizontalPodAutoscalerConfig"`
		} `json:"advanced"`
		Triggers []struct {
			Type     string            `json:"type"`
			Metadata map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// triggers are the fields of KEDA's scalers that we use, by type: those that it
// requires, and others.
var triggers = map[string]struct{ required, optional []string }{
	"temporal":   {[]string{"endpoint", "taskQueue"}, []string{"namespace", "queueTypes", "targetQueueSize", "activationTargetQueueSize"}},
	"prometheus": {[]string{"serverAddress", "query", "threshold"}, []string{"ignoreNullValues", "activationThreshold"}},
}

// kinds are those that the files may hold, by apiVersion and kind.
var kinds = map[string]any{
	"v1 Namespace":                           core.Namespace{},
	"v1 ConfigMap":                           core.ConfigMap{},
	"v1 Service":                             core.Service{},
	"apps/v1 Deployment":                     apps.Deployment{},
	"batch/v1 Job":                           batch.Job{},
	"autoscaling/v2 HorizontalPodAutoscaler": autoscaling.HorizontalPodAutoscaler{},
	"policy/v1 PodDisruptionBudget":          policy.PodDisruptionBudget{},
	"networking.k8s.io/v1 NetworkPolicy":     networking.NetworkPolicy{},
	"keda.sh/v1alpha1 ScaledObject":          scaledObject{},
}

// build builds a kustomization of the rendered files, and returns the objects in
// their types, by kind and name. A field that a type does not have is an error.
func build(t *testing.T, folder string) map[string]any {
	t.Helper()
	fs := filesys.MakeFsInMemory()
	for name, content := range rendered(t) {
		if err := fs.WriteFile("/"+name, content); err != nil {
			t.Fatal(err)
		}
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, path.Join("/kubernetes", folder))
	if err != nil {
		t.Fatalf("kustomize build %s: %v", folder, err)
	}
	objects := map[string]any{}
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		kind, ok := kinds[resource.GetApiVersion()+" "+resource.GetKind()]
		if !ok {
			t.Errorf("%s has an object of %s %s, which this test does not know", folder, resource.GetApiVersion(), resource.GetKind())
			continue
		}
		object := reflect.New(reflect.TypeOf(kind)).Interface()
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s, %s %s: %v", folder, resource.GetKind(), resource.GetName(), err)
		}
		objects[resource.GetKind()+" "+resource.GetName()] = object
		if ns := resource.GetNamespace(); ns != "captioner" && resource.GetKind() != "Namespace" {
			t.Errorf("%s, %s %s is in the namespace %q", folder, resource.GetKind(), resource.GetName(), ns)
		}
	}
	return objects
}

// pod is a pod's template and what it belongs to.
type pod struct {
	name       string
	deployment bool
	owner      meta.ObjectMeta
	template   core.PodTemplateSpec
}

func pods(objects map[string]any) (found []pod) {
	for name, object := range objects {
		switch o := object.(type) {
		case *apps.Deployment:
			found = append(found, pod{name, true, o.ObjectMeta, o.Spec.Template})
		case *batch.Job:
			found = append(found, pod{name, false, o.ObjectMeta, o.Spec.Template})
		}
	}
	return found
}

func TestKubernetes(t *testing.T) {
	want := map[string][]string{
		"base": {
			"Deployment captioner-api", "Deployment captioner-engine", "Deployment captioner-worker",
			"HorizontalPodAutoscaler captioner-api", "Job captioner-migrate", "Namespace captioner",
			"NetworkPolicy captioner", "PodDisruptionBudget captioner-api", "PodDisruptionBudget captioner-engine",
			"PodDisruptionBudget captioner-worker", "ScaledObject captioner-engine", "Service captioner-api",
		},
		"inference": {
			"Deployment captioner-inference", "HorizontalPodAutoscaler captioner-inference",
			"PodDisruptionBudget captioner-inference", "Service captioner-inference",
		},
	}
	want["gpu"] = want["base"]
	for folder, names := range want {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			for _, name := range names {
				if objects[name] == nil {
					t.Errorf("%s is missing", name)
				}
			}
			for _, p := range pods(objects) {
				t.Run(p.name, func(t *testing.T) { checkPod(t, objects, p) })
			}
			checkReferences(t, objects)
		})
	}
}

// checkPod: what runs is captioner, with flags and variables that exist; it is
// not root, writes to its volumes alone, says how much it needs, and is probed.
func checkPod(t *testing.T, objects map[string]any, p pod) {
	spec := p.template.Spec
	if got := p.owner.Annotations["captioner/version"]; got != string(version) {
		t.Errorf("it names version %q", got)
	}
	if s := spec.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("security context of the pod: %+v", s)
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken || spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
		t.Error("it gets a token or links to services, and needs neither")
	}
	if len(spec.Containers) != 1 || len(spec.InitContainers) != 0 {
		t.Fatalf("%d containers", len(spec.Containers))
	}
	c := spec.Containers[0]
	checkCommand(t, p.name, c.Args)
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
		s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) != 0 {
		t.Errorf("security context of the container: %+v", s)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("resources %+v", c.Resources)
	}
	checkEnvironment(t, objects, p.name, c)
	checkVolumes(t, spec, c)
	if p.deployment {
		checkDeployment(t, p, c)
	}
	engine, gpu := strings.Contains(strings.Join(c.Args, " "), "captioner-engine"), c.Resources.Limits["nvidia.com/gpu"]
	if onGPU := c.Image == "captioner-gpu"; onGPU != !gpu.IsZero() || onGPU && (!engine || len(spec.Tolerations) == 0 || len(spec.NodeSelector) == 0) {
		t.Errorf("image %s with %v GPUs, args %q", c.Image, gpu.String(), c.Args)
	}
	needsEngine := engine || c.Args[0] == "serve"
	if hasEngine := c.Image != "captioner-control"; needsEngine != hasEngine {
		t.Errorf("image %s for %q", c.Image, c.Args)
	}
}

// checkEnvironment: configuration comes from maps that are in the files, or from
// the Secret "captioner".
func checkEnvironment(t *testing.T, objects map[string]any, where string, c core.Container) {
	t.Helper()
	for _, env := range c.Env {
		checkVariable(t, where, env.Name)
	}
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil {
			if from.SecretRef.Name != "captioner" {
				t.Errorf("secret %q", from.SecretRef.Name)
			}
			continue
		}
		config, ok := objects["ConfigMap "+from.ConfigMapRef.Name].(*core.ConfigMap)
		if !ok {
			t.Errorf("there is no ConfigMap %q", from.ConfigMapRef.Name)
			continue
		}
		for name, value := range config.Data {
			checkVariable(t, where, name)
			if value == "" {
				t.Errorf("%s is empty", name)
			}
		}
	}
}

// checkVolumes: what is mounted exists, and there is scratch to write to.
func checkVolumes(t *testing.T, spec core.PodSpec, c core.Container) {
	t.Helper()
	volumes := map[string]core.Volume{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = v
		if v.EmptyDir != nil && v.EmptyDir.SizeLimit == nil {
			t.Errorf("volume %s has no limit", v.Name)
		}
	}
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		v, ok := volumes[m.Name]
		if !ok {
			t.Errorf("there is no volume %q", m.Name)
		}
		mounted[m.MountPath] = true
		delete(volumes, m.Name)
		if claim := v.PersistentVolumeClaim; claim != nil && claim.ReadOnly != m.ReadOnly {
			t.Errorf("volume %s is mounted read-only: %v, claimed so: %v", m.Name, m.ReadOnly, claim.ReadOnly)
		}
	}
	for name := range volumes {
		t.Errorf("volume %s is not mounted", name)
	}
	if c.Image != "captioner-control" && !mounted["/tmp"] {
		t.Error("an engine's socket needs /tmp")
	}
	for _, arg := range c.Args {
		flag, dir, ok := strings.Cut(arg, "=/")
		if flag == "--data-root" {
			continue // it confines paths, which the workers open
		}
		if ok && !mounted["/"+strings.Split(dir, "/")[0]] {
			t.Errorf("%s names a folder that is not mounted", arg)
		}
	}
}

// checkDeployment: the selector fits, probes and the scrape meet the port that
// the command listens on, and there is time to stop.
func checkDeployment(t *testing.T, p pod, c core.Container) {
	t.Helper()
	if len(c.Ports) != 1 || !slices.ContainsFunc(c.Args, func(arg string) bool {
		return arg == fmt.Sprintf("--listen=:%d", c.Ports[0].ContainerPort) || arg == fmt.Sprintf("--metrics-listen=:%d", c.Ports[0].ContainerPort)
	}) {
		t.Errorf("ports %+v, args %q", c.Ports, c.Args)
		return
	}
	if got := p.template.Annotations["prometheus.io/port"]; got != fmt.Sprint(c.Ports[0].ContainerPort) || p.template.Annotations["prometheus.io/scrape"] != "true" {
		t.Errorf("scraped at port %q", got)
	}
	paths := map[string]string{}
	for name, probe := range map[string]*core.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
		if probe == nil {
			continue
		}
		paths[name] = probe.HTTPGet.Path
		if probe.HTTPGet.Port.String() != c.Ports[0].Name {
			t.Errorf("the %s probe asks port %s", name, probe.HTTPGet.Port.String())
		}
	}
	if c.Args[0] == "serve" && (paths["readiness"] != "/ready" || paths["liveness"] != "/health") || paths["liveness"] == "" {
		t.Errorf("probes ask %v", paths)
	}
	if grace := p.template.Spec.TerminationGracePeriodSeconds; grace == nil || *grace < 35 {
		t.Error("captioner takes up to 30 s to stop, and gets less")
	}
}

// checkReferences: selectors find pods, autoscalers their targets.
func checkReferences(t *testing.T, objects map[string]any) {
	selects := func(name string, selector labels.Selector, count int) {
		t.Helper()
		found := 0
		for _, p := range pods(objects) {
			if selector.Matches(labels.Set(p.template.Labels)) {
				found++
			}
		}
		if selector.Empty() || found != count && count > 0 || found == 0 {
			t.Errorf("%s: the selector %q finds %d kinds of pods, want %d", name, selector, found, count)
		}
	}
	selector := func(s *meta.LabelSelector) labels.Selector {
		t.Helper()
		out, err := meta.LabelSelectorAsSelector(s)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	target := func(name string, ref autoscaling.CrossVersionObjectReference) {
		t.Helper()
		d, ok := objects["Deployment "+ref.Name].(*apps.Deployment)
		if !ok || ref.Kind != "Deployment" || ref.APIVersion != "apps/v1" {
			t.Errorf("%s scales %+v, which is not there", name, ref)
		} else if d.Spec.Replicas != nil {
			t.Errorf("%s and the Deployment both say how many pods there are", name)
		}
	}
	for name, object := range objects {
		switch o := object.(type) {
		case *apps.Deployment:
			selects(name, selector(o.Spec.Selector), 1)
		case *policy.PodDisruptionBudget:
			selects(name, selector(o.Spec.Selector), 1)
		case *networking.NetworkPolicy:
			selects(name, selector(&o.Spec.PodSelector), 0)
		case *core.Service:
			selects(name, labels.SelectorFromSet(o.Spec.Selector), 1)
		case *autoscaling.HorizontalPodAutoscaler:
			target(name, o.Spec.ScaleTargetRef)
			if o.Spec.MinReplicas == nil || *o.Spec.MinReplicas < 2 || *o.Spec.MinReplicas >= o.Spec.MaxReplicas {
				t.Errorf("%s: from %v to %d replicas", name, o.Spec.MinReplicas, o.Spec.MaxReplicas)
			}
		case *scaledObject:
			target(name, o.Spec.ScaleTargetRef)
			checkTriggers(t, objects, name, o)
		}
	}
}

// checkTriggers: the pool follows the queue that it works for.
func checkTriggers(t *testing.T, objects map[string]any, name string, o *scaledObject) {
	t.Helper()
	if len(o.Spec.Triggers) == 0 || *o.Spec.MinReplicaCount >= *o.Spec.MaxReplicaCount {
		t.Errorf("%s: from %d to %d by %d triggers", name, *o.Spec.MinReplicaCount, *o.Spec.MaxReplicaCount, len(o.Spec.Triggers))
	}
	for _, trigger := range o.Spec.Triggers {
		known, ok := triggers[trigger.Type]
		if !ok {
			t.Errorf("%s: trigger of type %q", name, trigger.Type)
		}
		for _, field := range known.required {
			if trigger.Metadata[field] == "" {
				t.Errorf("%s: trigger %s has no %s", name, trigger.Type, field)
			}
		}
		for field := range trigger.Metadata {
			if !slices.Contains(append(known.required, known.optional...), field) {
				t.Errorf("%s: trigger %s has the field %s", name, trigger.Type, field)
			}
		}
		if trigger.Type == "prometheus" {
			checkExpression(t, name, trigger.Metadata["query"])
		}
		if trigger.Type == "temporal" {
			pool := objects["Deployment "+o.Spec.ScaleTargetRef.Name].(*apps.Deployment).Spec.Template.Spec.Containers[0]
			if want := "--task-queues=" + trigger.Metadata["taskQueue"]; !slices.Contains(pool.Args, want) {
				t.Errorf("%s follows %q, and its pods are %q", name, trigger.Metadata["taskQueue"], pool.Args)
			}
		}
	}
}

// TestCloudRun decodes the service into the type of Cloud Run's own API. It must
// leave the port to the variable PORT, which Cloud Run sets.
func TestCloudRun(t *testing.T) {
	text := rendered(t)["cloudrun.yaml"]
	var service run.Service
	if err := yaml.UnmarshalStrict(text, &service); err != nil {
		t.Fatal(err)
	}
	if service.ApiVersion != "serving.knative.dev/v1" || service.Kind != "Service" || service.Metadata.Annotations["captioner/version"] != string(version) {
		t.Errorf("%s %s of version %s", service.ApiVersion, service.Kind, service.Metadata.Annotations["captioner/version"])
	}
	spec := service.Spec.Template.Spec
	if len(spec.Containers) != 1 || len(spec.Volumes) != 1 {
		t.Fatalf("%d containers, %d volumes", len(spec.Containers), len(spec.Volumes))
	}
	c := spec.Containers[0]
	checkCommand(t, "cloudrun.yaml", c.Args)
	if !slices.Contains(c.Args, "--bundle=/bundles/"+string(version)) || strings.Contains(strings.Join(c.Args, " "), "--listen") {
		t.Errorf("args %q", c.Args)
	}
	if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].Name != spec.Volumes[0].Name || c.VolumeMounts[0].MountPath != "/bundles" {
		t.Errorf("mounts %+v of volumes %+v", c.VolumeMounts, spec.Volumes)
	}
	if c.StartupProbe == nil || c.StartupProbe.HttpGet.Path != "/ready" || c.LivenessProbe == nil || c.LivenessProbe.HttpGet.Path != "/health" {
		t.Error("probes are missing")
	}
	if c.Image != "captioner-cpu" || c.Resources.Limits["memory"] == "" {
		t.Errorf("image %s, limits %v", c.Image, c.Resources.Limits)
	}
}
