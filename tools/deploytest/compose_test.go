package deploytest

import (
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

// compose loads docker-compose.yml with every profile and the rendered
// inference.env.
func compose(t *testing.T) *types.Project {
	t.Helper()
	env := filepath.Join(t.TempDir(), "inference.env")
	if err := os.WriteFile(env, rendered(t)["inference.env"], 0o644); err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithWorkingDirectory(root), cli.WithEnvFiles(env), cli.WithDotEnv, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// ports are those that others' images listen on.
var ports = map[string][]int{
	"postgres": {5432}, "objects": {8333, 9333}, "temporal": {7233}, "temporal-ui": {8080}, "mlflow": {5000},
	"collector": {4317, 4318}, "jaeger": {4317, 16686}, "prometheus": {9090}, "grafana": {3000},
}

// own reports whether a service runs captioner.
func own(s types.ServiceConfig) bool { return strings.HasPrefix(s.Image, "captioner-") }

// listens reports whether a service listens on a port: captioner where its flags
// say so.
func listens(s types.ServiceConfig, port int) bool {
	if !own(s) {
		return slices.Contains(ports[s.Name], port)
	}
	listen := ":" + strconv.Itoa(port)
	return slices.Contains(s.Command, "--listen="+listen) || slices.Contains(s.Command, "--metrics-listen="+listen)
}

func TestCompose(t *testing.T) {
	project := compose(t)
	names := slices.Sorted(maps.Keys(project.Services))
	for _, want := range []string{"api", "collector", "inference", "jaeger", "migrate", "mlflow", "objects", "postgres", "temporal", "temporal-ui", "worker"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no service %s", want)
		}
	}
	for name, s := range project.Services {
		t.Run(name, func(t *testing.T) {
			checkService(t, project, s)
			if own(s) {
				checkOwn(t, s)
			}
		})
	}
	// Without a profile there is all but these.
	var behind []string
	for name, s := range project.Services {
		if len(s.Profiles) > 0 {
			behind = append(behind, name)
		}
	}
	slices.Sort(behind)
	if want := []string{"grafana", "inference", "prometheus"}; !slices.Equal(behind, want) {
		t.Errorf("services behind a profile: %v, want %v", behind, want)
	}
	if s := project.Services["inference"]; !slices.Contains(s.Command, "--bundle=/bundles/"+string(version)) || len(s.DependsOn) != 0 || !slices.Equal(s.Profiles, []string{"inference"}) {
		t.Errorf("inference: %q, profiles %v, depends on %v", s.Command, s.Profiles, s.DependsOn)
	}
}

// checkService: images have a version, what is mounted exists, ports are those
// that are listened on, dependencies can be met, addresses lead to services.
func checkService(t *testing.T, project *types.Project, s types.ServiceConfig) {
	if !own(s) && !regexp.MustCompile(`:v?\d+(\.\d+)*$`).MatchString(s.Image) {
		t.Errorf("image %s is not of one version", s.Image)
	}
	for _, v := range s.Volumes {
		switch v.Type {
		case types.VolumeTypeVolume:
			if _, ok := project.Volumes[v.Source]; !ok {
				t.Errorf("there is no volume %q", v.Source)
			}
		case types.VolumeTypeBind:
			path, err := filepath.Rel(project.WorkingDir, v.Source)
			if err != nil || strings.HasPrefix(path, "..") {
				t.Errorf("%s lies outside the project", v.Source)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil && path != "datasets" && path != "bundles" { // those are the user's
				t.Errorf("%s is mounted and does not exist", path)
			}
			if !v.ReadOnly {
				t.Errorf("%s can be written to", path)
			}
		default:
			t.Errorf("volume %+v", v)
		}
	}
	for _, p := range s.Ports {
		if !listens(s, int(p.Target)) {
			t.Errorf("port %d is published and nobody listens", p.Target)
		}
		if ip := net.ParseIP(p.HostIP); ip == nil || !ip.IsLoopback() {
			t.Errorf("port %s is open to %q", p.Published, p.HostIP)
		}
	}
	for name, dependency := range s.DependsOn {
		on := project.Services[name]
		switch dependency.Condition {
		case types.ServiceConditionHealthy:
			if on.HealthCheck == nil {
				t.Errorf("waits for %s to be healthy, which is never checked", name)
			}
		case types.ServiceConditionCompletedSuccessfully:
			if on.Restart == types.RestartPolicyUnlessStopped {
				t.Errorf("waits for the end of %s, which never ends", name)
			}
		}
		if len(on.Profiles) > 0 && !slices.Equal(on.Profiles, s.Profiles) {
			t.Errorf("needs %s of another profile", name)
		}
	}
	for name, value := range s.Environment {
		if value != nil {
			checkAddress(t, project, s, name, *value)
		}
	}
}

// checkAddress: an address that a variable names is that of a service.
func checkAddress(t *testing.T, project *types.Project, s types.ServiceConfig, name, value string) {
	t.Helper()
	if u, err := url.Parse(value); err == nil && u.Scheme == "s3" {
		value = u.Query().Get("endpoint") // its host is the bucket
	}
	host, port := "", ""
	if u, err := url.Parse(value); err == nil && strings.Contains(value, "://") {
		host, port = u.Hostname(), u.Port()
	} else if regexp.MustCompile(`^[a-z-]+:\d+$`).MatchString(value) {
		host, port, _ = net.SplitHostPort(value)
	}
	number, err := strconv.Atoi(port)
	switch {
	case host == "" || err != nil:
	case host == "localhost": // for people, at a port that is published
		for _, other := range project.Services {
			for _, p := range other.Ports {
				if p.Published == port {
					return
				}
			}
		}
		t.Errorf("%s=%s: no service publishes the port", name, value)
	case !listens(project.Services[host], number):
		t.Errorf("%s=%s: there is no such service", name, value)
	}
	for _, p := range project.Services[host].Profiles {
		if !slices.Contains(s.Profiles, p) {
			t.Errorf("%s=%s: that service has the profile %s", name, value, p)
		}
	}
}

// checkOwn: what runs is captioner, with flags and variables that exist, in the
// image that has what it needs, without rights.
func checkOwn(t *testing.T, s types.ServiceConfig) {
	checkCommand(t, s.Name, s.Command)
	for name := range s.Environment {
		checkVariable(t, s.Name, name)
	}
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || !slices.Contains(s.Tmpfs, "/tmp") {
		t.Error("it may write into its image, or has rights")
	}
	if s.HealthCheck != nil {
		if s.HealthCheck.Test[0] != "CMD" || s.HealthCheck.Test[1] != "captioner" {
			t.Errorf("health check %q: there is no shell", s.HealthCheck.Test)
		}
		checkCommand(t, s.Name, s.HealthCheck.Test[2:])
	}
	engine := s.Command[0] == "serve" || strings.Contains(strings.Join(s.Command, " "), "captioner-engine")
	if has := s.Image == "captioner-cpu"; has != engine {
		t.Errorf("image %s for %q", s.Image, s.Command)
	}
}

// TestCollector: every part of a pipeline is configured, spans arrive where
// captioner sends them and leave for a service.
func TestCollector(t *testing.T) {
	type part = map[string]any
	var config struct {
		Receivers struct {
			OTLP struct {
				Protocols map[string]struct {
					Endpoint string `json:"endpoint"`
				} `json:"protocols"`
			} `json:"otlp"`
		} `json:"receivers"`
		Processors part `json:"processors"`
		Exporters  map[string]struct {
			Endpoint string `json:"endpoint"`
			TLS      struct {
				Insecure bool `json:"insecure"`
			} `json:"tls"`
		} `json:"exporters"`
		Service struct {
			Pipelines map[string]struct{ Receivers, Processors, Exporters []string } `json:"pipelines"`
		} `json:"service"`
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, "deploy/compose/collector.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	project := compose(t)
	endpoint := *project.Services["api"].Environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
	if got := "http://collector:" + strings.TrimPrefix(config.Receivers.OTLP.Protocols["http"].Endpoint, "0.0.0.0:"); got != endpoint {
		t.Errorf("spans are sent to %s and taken at %s", endpoint, got)
	}
	traces, ok := config.Service.Pipelines["traces"]
	if !ok || !slices.Equal(traces.Receivers, []string{"otlp"}) || len(traces.Exporters) == 0 {
		t.Fatalf("pipelines %+v", config.Service.Pipelines)
	}
	for _, name := range traces.Processors {
		if _, ok := config.Processors[name]; !ok {
			t.Errorf("there is no processor %s", name)
		}
	}
	for _, name := range traces.Exporters {
		host, port, err := net.SplitHostPort(config.Exporters[name].Endpoint)
		number, _ := strconv.Atoi(port)
		if err != nil || !listens(project.Services[host], number) {
			t.Errorf("exporter %s sends to %q", name, config.Exporters[name].Endpoint)
		}
	}
}
