package shard

import (
	"bytes"
	"fmt"
	"strings"

	"switchboard/session"
	"switchboard/wire"
)

// Forgetting erases customers from rows that nobody serves yet: those of a backup, before they are restored. It looks at the rows of all shards twice, by
// Look and, after Know, by LookAgain, and says then what each row is to be, by Row. It belongs to one goroutine.
type Forgetting struct {
	erased func(tenant, customer string) (mark string, at int64, ok bool)

	doomed   map[customerID]session.Erasure
	becomes  map[customerID][]string // who became, or is about to become, whom, and the other way round: they are one person
	sessions map[wire.SessionID]session.Erasure
}

// NewForgetting returns a Forgetting for those of whom erased says that they were erased, when that was after what the rows know.
func NewForgetting(erased func(tenant, customer string) (mark string, at int64, ok bool)) *Forgetting {
	return &Forgetting{
		erased: erased, doomed: map[customerID]session.Erasure{}, becomes: map[customerID][]string{}, sessions: map[wire.SessionID]session.Erasure{},
	}
}

// ErasedRow tells of a row whether it is that of a customer who was erased, or is to be.
func ErasedRow(key, val []byte) (tenant, customer string, e session.Erasure, ok bool) {
	if len(key) == 0 || key[0] != rowCustomer {
		return "", "", e, false
	}
	cu := &session.Customer{}
	if session.ParseCustomer(val, cu) != nil || cu.Erasure.Stage == session.NeverErased {
		return "", "", e, false
	}
	return cu.Tenant, cu.ID, cu.Erasure, true
}

// Look looks at a row, in any order. Error: session.ErrRow.
func (f *Forgetting) Look(key, val []byte) error {
	if len(key) == 0 || key[0] != rowCustomer {
		return nil
	}
	cu := &session.Customer{}
	if err := session.ParseCustomer(val, cu); err != nil {
		return fmt.Errorf("reading a customer: %w", err)
	}
	k := customerID{cu.Tenant, cu.ID}
	for _, other := range []string{cu.Alias, cu.Leaving.To} {
		if other != "" {
			to := customerID{cu.Tenant, other}
			f.becomes[to] = append(f.becomes[to], cu.ID)
			f.becomes[k] = append(f.becomes[k], other) // he may have been asked for by the name of who became him
		}
	}
	mark, at, ok := f.erased(cu.Tenant, cu.ID)
	switch was := cu.Erasure; {
	case ok && was.At < at:
		f.doomed[k] = session.Erasure{Mark: mark, At: at}
	case was.Stage == session.Erasing: // it was under way
		f.doomed[k] = was
	}
	return nil
}

// Know ends the first look: who became somebody who is erased, and whom he became, is erased, too. It returns how many customers that are.
func (f *Forgetting) Know() int {
	todo := make([]customerID, 0, len(f.doomed))
	for k := range f.doomed {
		todo = append(todo, k)
	}
	for len(todo) > 0 {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, id := range f.becomes[k] {
			kin := customerID{k.tenant, id}
			if _, known := f.doomed[kin]; !known {
				f.doomed[kin] = f.doomed[k]
				todo = append(todo, kin)
			}
		}
	}
	return len(f.doomed)
}

// LookAgain looks at a row for sessions of those who are erased. Error: session.ErrRow.
func (f *Forgetting) LookAgain(key, val []byte) error {
	if len(key) == 0 || key[0] != rowState {
		return nil
	}
	st := &session.State{}
	if err := session.ParseState(val, st); err != nil {
		return fmt.Errorf("reading a session: %w", err)
	}
	if st.ErasedAt != 0 {
		for k, e := range f.doomed { // of an erasure that was under way
			if k.tenant == st.Tenant && e.Mark == st.Customer.ID {
				f.sessions[wire.SessionID(key[1:])] = e
			}
		}
		return nil
	}
	if e, ok := f.doomed[customerID{st.Tenant, st.Customer.ID}]; ok {
		f.sessions[wire.SessionID(key[1:])] = e
	}
	return nil
}

// Row returns what a row is to be, and whether there is to be one. Error: session.ErrRow.
func (f *Forgetting) Row(key, val []byte) (row []byte, keep bool, err error) {
	if len(key) > 0 && key[0] == rowGuard { // nobody is being erased where it is restored
		return nil, false, nil
	}
	if len(f.doomed) == 0 || len(key) == 0 {
		return val, true, nil
	}
	switch kind := key[0]; kind {
	case rowCustomer, rowOwes:
		tenant, id, _ := strings.Cut(string(key[1:]), "\x00")
		e, ok := f.doomed[customerID{tenant, id}]
		switch {
		case !ok:
			return val, true, nil
		case kind == rowOwes:
			return nil, false, nil
		}
		cu := &session.Customer{}
		if err := session.ParseCustomer(val, cu); err != nil {
			return nil, false, fmt.Errorf("reading a customer: %w", err)
		}
		cu.Blank()
		cu.Erasure = session.Erasure{Mark: e.Mark, At: e.At, Stage: session.Completed}
		return session.AppendCustomer(nil, cu), true, nil
	case rowIdentity:
		i := &session.Identity{}
		if err := session.ParseIdentity(val, i); err != nil {
			return nil, false, fmt.Errorf("reading an external id: %w", err)
		}
		if _, ok := f.doomed[customerID{i.Tenant, i.Customer}]; ok {
			return nil, false, nil
		}
		return val, true, nil
	case rowState, rowEntry, rowKey, rowKeyList, rowLive, rowLevel, rowWhy, rowHook:
		return f.sessionRow(key, val)
	}
	return val, true, nil
}

// idLength is that of a session's id in a key.
const idLength = feedLine - 8

func (f *Forgetting) sessionRow(key, val []byte) (row []byte, keep bool, err error) {
	if len(key) < 1+idLength {
		return val, true, nil
	}
	id := wire.SessionID(bytes.Clone(key[1 : 1+idLength]))
	e, ok := f.sessions[id]
	switch {
	case !ok:
		return val, true, nil
	case key[0] == rowEntry:
		row, err = session.BlankRow(nil, id, val)
	case key[0] == rowState:
		row, err = session.BlankState(nil, val, e.At, e.Mark)
	default:
		return nil, false, nil
	}
	return row, true, err
}
