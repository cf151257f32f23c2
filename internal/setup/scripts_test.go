package setup_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a user's machine: a PATH and a cache folder of its own.
type machine struct {
	bin, cache string
	env        []string
}

// standard are the programs that every system has; the scripts need no others
// beside those that they look for.
var standard = []string{"sh", "awk", "cat", "cut", "date", "dirname", "mkdir", "mv", "rm", "sed", "sha256sum", "wc"}

// complete are a machine's other programs when nothing is missing.
var complete = map[string]string{
	"uname":   `case $1 in -s) echo Linux ;; -m) echo x86_64 ;; esac`,
	"go":      `case "$*" in "env GOVERSION") echo go1.26.1 ;; "env CC") echo gcc ;; *) exit 0 ;; esac`,
	"gcc":     `cat >/dev/null`,
	"python3": `exit 0`,
	"df":      `echo header; echo "disk 100000000 1 99000000 1% /"`,
}

// newMachine returns a complete machine with some programs replaced; an empty
// text takes one away.
func newMachine(t *testing.T, changes map[string]string) machine {
	t.Helper()
	m := machine{bin: filepath.Join(t.TempDir(), "bin"), cache: filepath.Join(t.TempDir(), "cache")}
	if err := os.Mkdir(m.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range standard {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(m.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range complete {
		if change, changed := changes[name]; changed {
			script = change
		}
		m.install(t, name, script)
	}
	for name, script := range changes {
		if _, known := complete[name]; !known {
			m.install(t, name, script)
		}
	}
	return m
}

func (m machine) install(t *testing.T, name, script string) {
	t.Helper()
	if script == "" {
		return
	}
	write(t, filepath.Join(m.bin, name), "#!/bin/sh\n"+script+"\n", 0o755)
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// run runs a script of tools/ there.
func (m machine) run(t *testing.T, script string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "tools", script))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Env = append([]string{"PATH=" + m.bin, "HOME=" + t.TempDir(), "CAPTIONER_CACHE=" + m.cache}, m.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// refused expects a failure whose text says all of want.
func refused(t *testing.T, stdout, stderr string, code int, want ...string) {
	t.Helper()
	if code == 0 || stdout != "" {
		t.Errorf("exit code %d, stdout %q; want a failure", code, stdout)
	}
	for _, text := range want {
		if !strings.Contains(stderr, text) {
			t.Errorf("it says %q, want %q in it", stderr, text)
		}
	}
}

func TestPreflight(t *testing.T) {
	full := `echo header; echo "disk 100000000 1 500 99% /"`
	noPip := `echo "No module named pip" >&2; exit 1`
	tests := []struct {
		name    string
		changes map[string]string
		env     []string
		want    []string // empty: all is well
	}{
		{"complete", nil, nil, nil},
		{"another system", map[string]string{"uname": `case $1 in -s) echo Darwin ;; -m) echo arm64 ;; esac`}, nil,
			[]string{"this is Darwin on arm64", "Linux on x86-64 only", "container"}},
		{"no go", map[string]string{"go": ""}, nil, []string{"go is not installed: https://go.dev/doc/install"}},
		{"old go", map[string]string{"go": `echo go1.25.9`}, nil, []string{"Go 1.25.9 is installed and 1.26 or newer is needed"}},
		{"no compiler", map[string]string{"gcc": ""}, nil, []string{"no C compiler (gcc) is installed", "apt-get install gcc"}},
		{"compiler of the user's that is missing", nil, []string{"CC=clang -O2"}, []string{"no C compiler (clang) is installed", "CC"}},
		{"compiler of the user's", map[string]string{"gcc": "", "clang": "cat >/dev/null"}, []string{"CC=clang -O2"}, nil},
		{"no headers", map[string]string{"gcc": `exit 1`}, nil, []string{"finds no C library", "apt-get install libc6-dev"}},
		{"no python", map[string]string{"python3": ""}, nil, []string{"python3 with pip is not installed", "apt-get install python3-pip", "CAPTIONER_TENSORFLOW"}},
		{"no pip", map[string]string{"python3": noPip}, nil, []string{"python3 with pip is not installed"}},
		{"no pip, and no need of it", map[string]string{"python3": noPip}, []string{"CAPTIONER_TENSORFLOW=/opt/libtensorflow"}, nil},
		{"no space", map[string]string{"df": full}, nil, []string{"only 500 MiB are free", "Make room"}},
		{"all at once", map[string]string{"gcc": "", "python3": "", "df": full}, nil,
			[]string{"no C compiler", "python3 with pip", "only 500 MiB are free", "cannot be built here yet"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.changes)
			m.env = tt.env
			stdout, stderr, code := m.run(t, "preflight")
			if len(tt.want) == 0 {
				if code != 0 || stdout+stderr != "" {
					t.Errorf("exit code %d, %q, %q; want silence", code, stdout, stderr)
				}
				return
			}
			refused(t, stdout, stderr, code, tt.want...)
		})
	}
}

// library lays out a folder as the user's own libtensorflow; a version of ""
// is a distribution for C alone, which has no header that tells it.
func library(t *testing.T, version, header string) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"lib/libtensorflow.so", "lib/libtensorflow_framework.so.2", "include/tensorflow/c/c_api.h"} {
		write(t, filepath.Join(dir, file), "", 0o644)
	}
	if version != "" {
		part := strings.Split(version, ".")
		write(t, filepath.Join(dir, "include/tensorflow/core/public", header),
			"#define TF_MAJOR_VERSION "+part[0]+"\n#define TF_MINOR_VERSION "+part[1]+"\n#define TF_PATCH_VERSION "+part[2]+"\n", 0o644)
	}
	return dir
}

func TestTensorFlowOfTheUsers(t *testing.T) {
	tests := []struct {
		name, dir string
		want      []string
	}{
		{"right version", library(t, "2.18.0", "release_version.h"), nil},
		{"without a version header", library(t, "", ""), nil},
		{"another version", library(t, "2.17.1", "version.h"), []string{"names TensorFlow 2.17.1", "needs exactly 2.18.0", "unset it"}},
		{"another patch", library(t, "2.18.1", "release_version.h"), []string{"names TensorFlow 2.18.1"}},
		{"something else", t.TempDir(), []string{"lib/libtensorflow.so is missing there", "libtensorflow 2.18.0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, map[string]string{"python3": ""}) // not needed
			m.env = []string{"CAPTIONER_TENSORFLOW=" + tt.dir}
			stdout, stderr, code := m.run(t, "tensorflow")
			if len(tt.want) > 0 {
				refused(t, stdout, stderr, code, tt.want...)
			} else if stdout != tt.dir+"\n" || code != 0 {
				t.Errorf("it prints %q with exit code %d (%s), want %s", stdout, code, stderr, tt.dir)
			}
		})
	}
}

func TestTensorFlowCached(t *testing.T) {
	m := newMachine(t, map[string]string{"python3": ""})
	target := filepath.Join(m.cache, "libtensorflow-2.18.0-cpu")
	write(t, filepath.Join(target, "complete"), "", 0o644)
	if stdout, stderr, code := m.run(t, "tensorflow"); stdout != target+"\n" || code != 0 {
		t.Errorf("it prints %q with exit code %d (%s), want %s", stdout, code, stderr, target)
	}
}

// wheel is what pip saves.
const wheel = "tensorflow_cpu-2.18.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"

func TestTensorFlowDownload(t *testing.T) {
	tests := []struct {
		name    string
		changes map[string]string
		want    []string
	}{
		{"another system", map[string]string{"uname": `case $1 in -s) echo Linux ;; -m) echo aarch64 ;; esac`}, []string{"this is Linux on aarch64"}},
		{"no python", map[string]string{"python3": ""}, []string{"python3 is not installed", "CAPTIONER_TENSORFLOW"}},
		{"no pip", map[string]string{"python3": `exit 1`}, []string{"python3 has no pip", "apt-get install python3-pip"}},
		{"no space", map[string]string{"df": `echo header; echo "disk 100000000 1 1000000 99% /"`},
			[]string{"only 976 MiB are free", "needs 1200", "CAPTIONER_CACHE"}},
		{"no network", map[string]string{"python3": `case "$*" in *download*) echo "pip: no route" >&2; exit 1 ;; esac`},
			[]string{"downloading TensorFlow 2.18.0", "pip could not download", "Check the network"}},
		{"another file", map[string]string{"python3": `case "$*" in *download*) echo changed >"$CAPTIONER_CACHE/downloads/` + wheel + `" ;; esac`},
			[]string{"does not have the SHA256 089e7174", "is not used"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.changes)
			stdout, stderr, code := m.run(t, "tensorflow")
			refused(t, stdout, stderr, code, tt.want...)
			if _, err := os.Stat(filepath.Join(m.cache, "libtensorflow-2.18.0-cpu")); err == nil {
				t.Error("the library's folder was made all the same")
			}
		})
	}
}

func TestTemporal(t *testing.T) {
	const works = `[ "$1" = --version ]`
	own := filepath.Join(t.TempDir(), "my-temporal")
	write(t, own, "#!/bin/sh\n"+works+"\n", 0o755)
	cached := func(m machine) string { return filepath.Join(m.cache, "temporal-1.5.1", "temporal") }
	tests := []struct {
		name    string
		changes map[string]string
		env     []string
		cached  bool
		path    func(m machine) string // empty: a failure that says want
		want    []string
	}{
		{name: "named", env: []string{"CAPTIONER_TEMPORAL=" + own}, path: func(machine) string { return own }},
		{name: "named, and none", env: []string{"CAPTIONER_TEMPORAL=/nowhere/temporal"}, cached: true,
			want: []string{"CAPTIONER_TEMPORAL names /nowhere/temporal", "unset it"}},
		{name: "on the PATH", changes: map[string]string{"temporal": works}, cached: true,
			path: func(m machine) string { return filepath.Join(m.bin, "temporal") }},
		{name: "on the PATH, and broken", changes: map[string]string{"temporal": "exit 1"}, cached: true, path: cached},
		{name: "cached", changes: map[string]string{"go": ""}, cached: true, path: cached},
		{name: "no go", changes: map[string]string{"go": ""}, want: []string{"go is not installed", "packaged Temporal CLI"}},
		{name: "no space", changes: map[string]string{"df": `echo header; echo "disk 100000000 1 1000000 99% /"`},
			want: []string{"only 976 MiB are free", "needs 3000", "CAPTIONER_CACHE"}},
		{name: "no network", changes: map[string]string{"go": `case "$1" in mod) exit 1 ;; esac`},
			want: []string{"building the Temporal CLI 1.5.1", "could not download the modules", "packaged temporal"}},
		{name: "does not build", changes: map[string]string{"go": `case "$1" in build) echo "x.go:1: broken"; exit 1 ;; esac`},
			want: []string{"x.go:1: broken", "building the Temporal CLI failed"}},
		{name: "built", changes: map[string]string{"go": `[ "$1" = build ] || exit 0
			while [ "$1" != -o ]; do shift; done
			echo built >"$2"`}, path: cached},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.changes)
			m.env = tt.env
			if tt.cached {
				write(t, cached(m), "#!/bin/sh\n"+works+"\n", 0o755)
			}
			stdout, stderr, code := m.run(t, "temporal")
			if tt.path == nil {
				refused(t, stdout, stderr, code, tt.want...)
			} else if stdout != tt.path(m)+"\n" || code != 0 {
				t.Errorf("it prints %q with exit code %d (%s), want %s", stdout, code, stderr, tt.path(m))
			}
		})
	}
}
