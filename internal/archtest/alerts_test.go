package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestAlerts holds the shipped rules for Prometheus to the metrics that there are, and to the page that says what to do.
func TestAlerts(t *testing.T) {
	const file = "examples/prometheus/alerts.yaml"
	doc, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions(doc, &rules, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	have, look := metricNames(t), anchors(read(t, "docs/operations.md"))
	metric := regexp.MustCompile(`switchboard_[a-z_]+`)
	seen := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] {
				t.Errorf("the alert %q is there twice, or has no name", r.Alert)
			}
			seen[r.Alert] = true
			for _, m := range metric.FindAllString(r.Expr, -1) {
				if !slices.Contains(have, m) {
					t.Errorf("%s asks for %s, which nobody tells", r.Alert, m)
				}
			}
			for _, pair := range []string{"()", "[]", "{}"} {
				if strings.Count(r.Expr, pair[:1]) != strings.Count(r.Expr, pair[1:]) {
					t.Errorf("%s: %q is not balanced", r.Alert, r.Expr)
				}
			}
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s has the severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || !slices.Contains(look, r.Annotations["look"]) {
				t.Errorf("%s: docs/operations.md has no heading %q, or nothing is said", r.Alert, r.Annotations["look"])
			}
		}
	}
	if len(seen) < 10 {
		t.Fatalf("%d alerts", len(seen))
	}
}
