package deploytest

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// metric is one of captioner's, or another's that we rely on.
type metric struct {
	kind   string
	labels []string
}

// others are the metrics that are not captioner's own.
var others = map[string]metric{
	"up":                                   {"gauge", nil}, // Prometheus makes it for each target
	"process_resident_memory_bytes":        {"gauge", nil}, // of Prometheus' client library
	"process_cpu_seconds_total":            {"counter", nil},
	"kubelet_volume_stats_available_bytes": {"gauge", []string{"namespace", "persistentvolumeclaim"}},
	"kubelet_volume_stats_capacity_bytes":  {"gauge", []string{"namespace", "persistentvolumeclaim"}},
}

var metricRow = regexp.MustCompile("(?m)^\\| `(captioner_[a-z_]+)` \\| ([a-z]+) \\| [^|]* \\| ([^|]*)\\|")

// metrics returns every series that /metrics has, as the guide lists them:
// TestMetricsAreDocumented of internal/telemetry holds its table against what is
// exported. Histograms are there by the names of their series.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	all := map[string]metric{}
	for name, m := range others {
		all[name] = m
	}
	rows := metricRow.FindAllStringSubmatch(read(t, "DOCS.md"), -1)
	if len(rows) < 20 {
		t.Fatalf("the guide lists %d metrics, want all", len(rows))
	}
	for _, row := range rows {
		m := metric{kind: row[2]}
		for _, label := range strings.Split(row[3], ",") {
			if label = strings.Trim(label, " `"); label != "" {
				m.labels = append(m.labels, label)
			}
		}
		if m.kind != "histogram" {
			all[row[1]] = m
			continue
		}
		all[row[1]+"_sum"], all[row[1]+"_count"] = metric{"counter", m.labels}, metric{"counter", m.labels}
		all[row[1]+"_bucket"] = metric{"counter", append(slices.Clone(m.labels), "le")}
	}
	return all
}

// ofCounters are the functions that only counters make sense to.
var ofCounters = []string{"rate", "irate", "increase"}

// checkExpression parses an expression, looks for its metrics and their labels,
// and sees that counters are used as such.
func checkExpression(t *testing.T, where, text string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, text)
		return
	}
	all, found := metrics(t), 0
	known := []string{"job", "instance"}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		vector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		found++
		m, ok := all[vector.Name]
		if !ok {
			t.Errorf("%s: nothing exposes %s", where, vector.Name)
			return nil
		}
		known = append(known, m.labels...)
		for _, matcher := range vector.LabelMatchers {
			if matcher.Name != model.MetricNameLabel && !slices.Contains(append(m.labels, "job", "instance"), matcher.Name) {
				t.Errorf("%s: %s has no label %s", where, vector.Name, matcher.Name)
			}
		}
		asCounter := slices.ContainsFunc(path, func(n parser.Node) bool {
			call, ok := n.(*parser.Call)
			return ok && slices.Contains(ofCounters, call.Func.Name)
		})
		changes := slices.ContainsFunc(path, func(n parser.Node) bool {
			call, ok := n.(*parser.Call)
			return ok && call.Func.Name == "changes"
		})
		if asCounter != (m.kind == "counter") && !changes {
			t.Errorf("%s: %s is a %s", where, vector.Name, m.kind)
		}
		return nil
	})
	if found == 0 {
		t.Errorf("%s: the expression has no metric: %s", where, text)
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range a.Grouping {
				if !slices.Contains(known, label) {
					t.Errorf("%s: no metric has the label %s", where, label)
				}
			}
		}
		return nil
	})
}

const alertsFile = "deploy/prometheus/alerts.yaml"

func alerts(t *testing.T) (rules []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(read(t, alertsFile)), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
	for _, err := range errs {
		t.Errorf("%s: %v", alertsFile, err)
	}
	for _, group := range groups.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) < 10 {
		t.Errorf("%d alarms, want more", len(rules))
	}
	return rules
}

func TestAlertExpressions(t *testing.T) {
	for _, rule := range alerts(t) {
		checkExpression(t, rule.Alert, rule.Expr)
		if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
			t.Errorf("%s says neither how bad nor what it is: %v %v", rule.Alert, rule.Labels, rule.Annotations)
		}
	}
}

// TestAlertsAreInTheRunbook follows each alarm's link to its section, which says
// what to do, and finds it in the table of alarms.
func TestAlertsAreInTheRunbook(t *testing.T) {
	page := read(t, "docs/runbook.md")
	sections := map[string]string{}
	for _, part := range strings.Split("\n"+page, "\n## ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		anchor := strings.ReplaceAll(strings.ToLower(title), " ", "-")
		sections[anchor] = text
	}
	row := regexp.MustCompile("(?m)^\\| `(Captioner[A-Za-z]+)` \\|.*\\]\\(#([a-z-]+)\\) \\|$")
	inTable := map[string]string{}
	for _, found := range row.FindAllStringSubmatch(sections["alarms"], -1) {
		inTable[found[1]] = found[2]
	}
	for _, rule := range alerts(t) {
		anchor, ok := strings.CutPrefix(rule.Annotations["runbook_url"], "https://github.com/captioner/captioner/blob/main/docs/runbook.md#")
		if !ok {
			t.Errorf("%s: runbook_url %q", rule.Alert, rule.Annotations["runbook_url"])
			continue
		}
		section := sections[anchor]
		if section == "" {
			t.Errorf("%s: the runbook has no section %q", rule.Alert, anchor)
		} else if anchor != "a-run-has-failed" && !strings.Contains(section, "**Do.**") || !strings.Contains(section, "**See it.**") {
			t.Errorf("%s: the section %q does not say how to see it or what to do", rule.Alert, anchor)
		}
		if inTable[rule.Alert] != anchor {
			t.Errorf("%s: the table of alarms leads to %q, its link to %q", rule.Alert, inTable[rule.Alert], anchor)
		}
		delete(inTable, rule.Alert)
	}
	for name := range inTable {
		t.Errorf("the runbook explains %s, which is no alarm", name)
	}
}

// dashboard is what we read of Grafana's format.
type dashboard struct {
	Title      string `json:"title"`
	UID        string `json:"uid"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Query string `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []target `json:"list"`
	} `json:"annotations"`
	Panels []struct {
		ID         int    `json:"id"`
		Type       string `json:"type"`
		Title      string `json:"title"`
		Datasource struct {
			UID string `json:"uid"`
		} `json:"datasource"`
		GridPos     struct{ X, Y, W, H int } `json:"gridPos"`
		Targets     []target                 `json:"targets"`
		FieldConfig struct {
			Defaults struct {
				Unit string `json:"unit"`
			} `json:"defaults"`
		} `json:"fieldConfig"`
	} `json:"panels"`
}

type target struct {
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

var (
	variable = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)
	legend   = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

func TestDashboard(t *testing.T) {
	var d dashboard
	text := read(t, "deploy/grafana/captioner.json")
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	variables := map[string]bool{"__rate_interval": true, "__all": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if found := regexp.MustCompile(`^label_values\((\w+), job\)$`).FindStringSubmatch(v.Query); v.Name == "job" && (found == nil || metrics(t)[found[1]].kind == "") {
			t.Errorf("the variable job asks for %q", v.Query)
		}
	}
	for _, v := range variable.FindAllStringSubmatch(text, -1) {
		if name := v[1] + v[2]; !variables[name] {
			t.Errorf("the dashboard has no variable %q", name)
		}
	}
	check := func(where string, targets []target) {
		t.Helper()
		for _, target := range targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*").Replace(target.Expr)
			checkExpression(t, where, expr)
			for _, label := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !strings.Contains(expr, label[1]) && label[1] != "run" && label[1] != "instance" {
					t.Errorf("%s: the legend names %s, which is not in %s", where, label[1], expr)
				}
			}
		}
	}
	check("annotations", d.Annotations.List)
	ids, taken, used := map[int]bool{}, map[[2]int]string{}, 0
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: taken or without a title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					t.Fatalf("panel %q lies on %q or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q: data source %q, unit %q, %d queries", p.Title, p.Datasource.UID, p.FieldConfig.Defaults.Unit, len(p.Targets))
		}
		check(p.Title, p.Targets)
		used += len(p.Targets)
	}
	if used < 20 {
		t.Errorf("%d queries, want more", used)
	}
	for name, m := range metrics(t) {
		if base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count"); strings.HasPrefix(name, "captioner_") &&
			!strings.Contains(text, base) && !strings.HasPrefix(name, "captioner_training_epoch") {
			t.Errorf("the dashboard does not show %s, a %s", name, m.kind)
		}
	}
}

// TestScrapes: Prometheus in compose reads the rules that are mounted and asks
// services at the ports that they listen on.
func TestScrapes(t *testing.T) {
	var config struct {
		Global  map[string]string `json:"global"`
		Rules   []string          `json:"rule_files"`
		Scrapes []struct {
			Job string `json:"job_name"`
			DNS []struct {
				Names []string `json:"names"`
				Type  string   `json:"type"`
				Port  int      `json:"port"`
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, "deploy/compose/prometheus.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	project := compose(t)
	mounts := map[string]string{}
	for _, v := range project.Services["prometheus"].Volumes {
		mounts[v.Target] = v.Source
	}
	for _, rules := range config.Rules {
		if source := mounts["/etc/prometheus/"+rules]; !strings.HasSuffix(source, alertsFile) {
			t.Errorf("rules %s are %q", rules, source)
		}
	}
	for _, scrape := range config.Scrapes {
		if len(scrape.DNS) == 0 {
			t.Errorf("job %s asks nobody", scrape.Job)
		}
		for _, dns := range scrape.DNS {
			for _, name := range dns.Names {
				if !listens(project.Services[name], dns.Port) {
					t.Errorf("job %s asks %s at port %d, where it does not listen", scrape.Job, name, dns.Port)
				}
			}
		}
	}
}
