package backup

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"slices"
)

// erasuresName is the file that says who was erased.
const erasuresName = "erasures.json"

// Erased is a customer who was erased [SW-7.11], as whoever notes it knows him.
type Erased struct {
	Tenant, Customer string
	Mark             string // of the erasure
	At               int64  // Unix ms, when it was asked for
}

// Erasures are those that a directory knows of: backups from before hold the customers still, and a restore must not bring them back. Nobody who reads
// them learns who it was: names stand as hashes with a salt of the directory's.
type Erasures struct {
	Salt string    `json:"salt"`
	List []Erasure `json:"erasures"`
	find map[string]int
}

// Erasure is one of them.
type Erasure struct {
	Who  string `json:"who"`
	Mark string `json:"erasure"`
	At   int64  `json:"at"` // Unix ms
}

// Erasures returns what the directory knows; of a new one that is nothing. Errors: ErrDamaged, when a restore had better not go on without it, ErrFormat.
func (d *Dir) Erasures() (*Erasures, error) {
	e := &Erasures{find: map[string]int{}}
	b, err := readFile(d.fs, d.file(erasuresName), manifestMax)
	if errors.Is(err, iofs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.file(erasuresName), err)
	}
	if e, err = parseErasures(b); err != nil {
		return nil, fmt.Errorf("%s, which says who was erased: %w", d.file(erasuresName), err)
	}
	return e, nil
}

func parseErasures(b []byte) (*Erasures, error) {
	e := &Erasures{find: map[string]int{}}
	body, line, _ := bytes.Cut(b, []byte("\nsha256 "))
	if sum := sha256.Sum256(body); string(line) != hex.EncodeToString(sum[:])+"\n" {
		return nil, fmt.Errorf("it has a wrong checksum: %w", ErrDamaged)
	}
	if err := json.Unmarshal(body, e); err != nil || e.Salt == "" {
		return nil, fmt.Errorf("it cannot be read: %w", errors.Join(ErrFormat, err))
	}
	for i := range e.List {
		e.find[e.List[i].Who] = i
	}
	return e, nil
}

// Of returns the last erasure of a customer, if there was one.
func (e *Erasures) Of(tenant, customer string) (Erasure, bool) {
	if len(e.List) == 0 {
		return Erasure{}, false
	}
	i, ok := e.find[e.who(tenant, customer)]
	if !ok {
		return Erasure{}, false
	}
	return e.List[i], true
}

func (e *Erasures) who(tenant, customer string) string {
	sum := sha256.Sum256([]byte(e.Salt + "\x00" + tenant + "\x00" + customer))
	return hex.EncodeToString(sum[:])
}

// Erase notes that customers were erased. It is durable when it returns; noting it again does nothing. Errors: ErrInUse while a backup is being written, which
// notes them by itself, and those of Erasures.
func (d *Dir) Erase(list ...Erased) (err error) {
	l, err := d.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return d.erase(list)
}

// Erase is [Dir.Erase] for who writes a backup.
func (w *Writer) Erase(list ...Erased) error { return w.d.erase(list) }

func (d *Dir) erase(list []Erased) error {
	e, err := d.Erasures()
	if err != nil {
		return err
	}
	if e.Salt == "" {
		var salt [24]byte
		_, _ = rand.Read(salt[:]) // never fails
		e.Salt = hex.EncodeToString(salt[:])
	}
	changed := false
	for _, x := range list {
		who := e.who(x.Tenant, x.Customer)
		i, known := e.find[who]
		switch {
		case !known:
			e.find[who] = len(e.List)
			e.List = append(e.List, Erasure{who, x.Mark, x.At})
		case e.List[i].At < x.At:
			e.List[i] = Erasure{who, x.Mark, x.At}
		default:
			continue
		}
		changed = true
	}
	if !changed {
		return nil
	}
	slices.SortFunc(e.List, func(a, b Erasure) int { return int(a.At - b.At) })
	b, err := e.encode()
	if err != nil {
		return err
	}
	return d.putWhole(erasuresName, b)
}

func (e *Erasures) encode() ([]byte, error) {
	b, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(b, "\nsha256 %x\n", sha256.Sum256(b)), nil
}
