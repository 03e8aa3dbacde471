package wire

// Mail by which slots go from one shard to another: rows as they stand in the log of the one, for the log of the other.
type (
	// Parcel is a piece of the rows of slots that are on their way. The shard that gives them serves them no more, so that these rows
	// change no more: a parcel may come twice. It is repeated until ParcelKept answers.
	Parcel struct {
		Shape uint64 // of the placement in which the slots began to move
		N     uint64 // of the parcel, from 1
		Reply Address
		// Term and Epoch are those of the giver: the taker's will be no lower when it serves the slots.
		Term, Epoch uint64
		// Rows are keys and values, each behind its length.
		Rows []byte
	}
	// ParcelKept says that the rows of parcel N, which was sent in that term, are durable with the taker.
	ParcelKept struct {
		Shape, N, Term uint64
	}
)

func (c *coder) parcel(m *Parcel) {
	c.uint(&m.Shape)
	c.uint(&m.N)
	c.address(&m.Reply)
	c.uint(&m.Term)
	c.uint(&m.Epoch)
	c.bytes(&m.Rows)
}

func (c *coder) parcelKept(m *ParcelKept) {
	c.uint(&m.Shape)
	c.uint(&m.N)
	c.uint(&m.Term)
}
