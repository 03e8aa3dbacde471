package wire

// Mail by which a customer is erased [SW-7.11]. All of it may come twice, late, or not at all: who waits repeats it.
type (
	// Purge tells a shard that Customer is being erased under Mark: what it has of his external ids goes, who became him is erased as well, and so are rows of
	// his that are still there from slots that have left. It is repeated until Purged answers it.
	Purge struct {
		Tenant   string
		Customer string
		Mark     string
		At       int64  // Unix ms, when it was asked for
		Shard    uint32 // that is told, as the customer's shard counts them
	}
	// Purged says that a shard has nothing of that customer any more, as far as the slots go that it serves now.
	Purged struct {
		Tenant   string
		Customer string
		Mark     string
		Shard    uint32
		Slots    []byte // a bit for each, by its number
		// Kin are customers who are, or were, erased with him, as far as their rows are there.
		Kin []string
	}
	// Scrub says to the customer's shard that the rows of an erasure are all rewritten; and, with Done, that no file of any node has what stood in them
	// before. Without Done it goes to the other shards, too: what they keep off because of it need not be kept off any more.
	Scrub struct {
		Tenant   string
		Customer string
		Mark     string
		Done     bool
	}
)

func (c *coder) purge(m *Purge) {
	c.text(&m.Tenant)
	c.text(&m.Customer)
	c.text(&m.Mark)
	c.int(&m.At)
	c.uint32(&m.Shard)
}

func (c *coder) purged(m *Purged) {
	c.text(&m.Tenant)
	c.text(&m.Customer)
	c.text(&m.Mark)
	c.uint32(&m.Shard)
	c.bytes(&m.Slots)
	if c.reading || c.speaks(kinSince) {
		c.texts(&m.Kin)
	}
}

func (c *coder) scrub(m *Scrub) {
	c.text(&m.Tenant)
	c.text(&m.Customer)
	c.text(&m.Mark)
	c.bool(&m.Done)
}
