//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// disk is a file system on a loop device, whose power can be cut.
type disk struct {
	t     *testing.T
	image string
	mount string
}

// newDisk makes an ext4 of so many bytes that writes nothing by itself for minutes, so that a cut takes everything that was not synced.
// Where the machine does not let us mount, the test is skipped.
func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{t, filepath.Join(dir, "image"), filepath.Join(dir, "mount")}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(size) // a sparse file
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Mkdir(d.mount, 0o750)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.try("mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		t.Skipf("no disk of its own here: %v", err)
	}
	if err := d.try("mount", "-o", "loop,commit=300", d.image, d.mount); err != nil {
		t.Skipf("no disk of its own here, mounting needs root and loop devices: %v", err)
	}
	t.Cleanup(func() { d.must("umount", "-l", d.mount) }) // a node that is killed may not be gone yet
	return d
}

// cut makes the disk what it would be had the power gone away just now: the image as it is, without what the file system
// still had in memory. Nobody uses it meanwhile.
func (d *disk) cut() {
	d.t.Helper()
	witness := filepath.Join(d.mount, "witness")
	if err := os.WriteFile(witness, []byte("not synced"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	left := d.image + ".left"
	d.must("cp", "--sparse=always", d.image, left)
	d.must("umount", d.mount)
	if err := os.Rename(left, d.image); err != nil {
		d.t.Fatal(err)
	}
	d.must("mount", "-o", "loop,commit=300", d.image, d.mount)
	if _, err := os.Stat(witness); !os.IsNotExist(err) {
		d.t.Fatalf("the cut took nothing away: %v", err) // the fault must fire
	}
}

func (d *disk) try(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput() //nolint:noctx // also after the test's end
	if err != nil {
		d.t.Logf("%s %s: %v %s", name, strings.Join(args, " "), err, out)
	}
	return err
}

func (d *disk) must(name string, args ...string) {
	d.t.Helper()
	if err := d.try(name, args...); err != nil {
		d.t.Fatal(err)
	}
}

// TestPowerCut is TestKill on a disk whose power goes away with the process: what was not synced is lost.
func TestPowerCut(t *testing.T) {
	d := newDisk(t, 2<<30)
	crashAgainAndAgain(t, filepath.Join(d.mount, "data"), crashes(t, 3), d.cut)
}
