package wire

// The fields of what is said between customers, for another node.

func (c *coder) external(v **External) {
	if !c.has(*v != nil) {
		return
	}
	if c.reading {
		*v = new(External)
	}
	g := c.begin()
	c.text(&(*v).Channel)
	c.text(&(*v).ID)
	c.text(&(*v).Name)
	c.end(g)
}

func (c *coder) way(v **Way) {
	if !c.has(*v != nil) {
		return
	}
	if c.reading {
		*v = new(Way)
	}
	w := *v
	g := c.begin()
	c.uint32((*uint32)(&w.Stage))
	c.uint32((*uint32)(&w.Then))
	c.bool(&w.Proved)
	c.bool(&w.Granted)
	c.uint32(&w.Hops)
	c.text(&w.At)
	c.text(&w.Root)
	c.text(&w.Owner)
	c.text(&w.Found)
	c.text(&w.Shop)
	c.text((*string)(&w.Visit))
	c.text((*string)(&w.Tried))
	c.uint(&w.Turn)
	c.text((*string)(&w.Current))
	n := c.count(len(w.Todo), 1)
	if c.reading && n > 0 {
		w.Todo = make([]SessionID, n)
	}
	for i := range n {
		if c.reading {
			w.Todo[i] = SessionID(c.in.text())
		} else {
			c.out = appendText(c.out, string(w.Todo[i]))
		}
	}
	c.texts(&w.Open)
	if c.reading || c.speaks(kinSince) {
		c.text(&w.Guard)
		c.text(&w.Mark)
		c.texts(&w.Settled)
		c.bool(&w.Waits)
	}
	c.end(g)
}

func (c *coder) link(m *Link) {
	c.text(&m.Tenant)
	c.text(&m.Loser)
	c.text(&m.Winner)
	c.uint(&m.Try)
	c.int(&m.At)
	c.uint(&m.Depth)
	n := c.count(len(m.Identities), 4)
	if c.reading && n > 0 {
		m.Identities = make([]External, n)
	}
	for i := range n {
		g := c.begin()
		c.text(&m.Identities[i].Channel)
		c.text(&m.Identities[i].ID)
		c.text(&m.Identities[i].Name)
		c.end(g)
	}
	c.uint32(&m.Hops)
}

func (c *coder) linked(m *Linked) {
	c.text(&m.Tenant)
	c.text(&m.Loser)
	c.text(&m.Winner)
	c.uint(&m.Try)
}

func (c *coder) unite(m *Unite) {
	c.text(&m.Tenant)
	c.text(&m.Loser)
	c.text(&m.Winner)
	c.text(&m.Shop)
	c.text((*string)(&m.Session))
	c.int(&m.OpenedAt)
	c.uint32((*uint32)(&m.Step))
	c.text((*string)(&m.Other))
	c.text((*string)(&m.Tried))
	c.uint(&m.Turn)
	c.uint32(&m.Hops)
}

func (c *coder) united(m *United) {
	c.text(&m.Tenant)
	c.text(&m.Loser)
	c.text(&m.Shop)
	c.text((*string)(&m.Session))
	if c.reading || c.speaks(kinSince) {
		c.text((*string)(&m.Goes))
	}
}
