package main

import (
	"net"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/captioner/captioner/internal/store/postgrestest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"captioner": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// scripts runs the command lines in a folder as a user types them.
func scripts(dir string, setup func(*testscript.Env) error) testscript.Params {
	return testscript.Params{
		Dir: dir, Setup: setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exitcode": exitCodeCommand,
		},
	}
}

func TestScripts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // the scripts run when this function has returned
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, scripts("testdata/script", func(env *testscript.Env) error {
		env.Setenv("TAKEN", taken.Addr().String())
		env.Setenv("TAKEN_PORT", port)
		env.Setenv("CAPTIONER_TEST_PROGRAM", os.Args[0])
		return nil
	}))
}

func TestScriptsOnPostgres(t *testing.T) {
	database := postgrestest.Start(t).Database(t)
	testscript.Run(t, scripts("testdata/script/postgres", func(env *testscript.Env) error {
		env.Setenv("CAPTIONER_DATABASE", database)
		return nil
	}))
}

// exitCodeCommand is `exitcode N command args…`: the command must end with N.
func exitCodeCommand(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "exit status 0"
	if err != nil {
		got = err.Error()
	}
	if want := "exit status " + args[0]; got != want {
		ts.Fatalf("%s, want %s", got, want)
	}
}
