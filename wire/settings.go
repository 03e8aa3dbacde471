package wire

// Mail by which the shards that host a tenant's sessions learn what its queues are by now.
type (
	// Settings says what the queues of a tenant are under a version of its document. The pool's shard sends it once the version
	// is durable, and repeats it until SettingsKept answers. Lower versions than the one that is known change nothing.
	Settings struct {
		Tenant  string
		Version uint64
		Queues  []string
		Default string   // where an open without queue goes
		Moves   []string // in pairs: a queue that is there no more, and where its sessions go
		Shard   uint32   // that is told, as the pool counts them
		Reply   Address
		Rules   []byte // what sessions go by while somebody has them: of package broker/routes; may be empty
		Levels  []byte // its service levels: of package shard; may be empty
	}
	// SettingsKept says that a shard goes by Version. It answers Settings, and is said by each owner of a shard that begins.
	SettingsKept struct {
		Tenant  string
		Version uint64
		Shard   uint32
	}
)

func (c *coder) settings(m *Settings) {
	c.text(&m.Tenant)
	c.uint(&m.Version)
	c.texts(&m.Queues)
	c.text(&m.Default)
	c.texts(&m.Moves)
	c.uint32(&m.Shard)
	c.address(&m.Reply)
	c.bytes(&m.Rules)
	c.bytes(&m.Levels)
}

func (c *coder) settingsKept(m *SettingsKept) {
	c.text(&m.Tenant)
	c.uint(&m.Version)
	c.uint32(&m.Shard)
}

// Hooked is what came of a call of a session's hook. It never leaves its node.
type Hooked struct {
	Session SessionID
	Ticket  uint64
	Attempt uint32 // counted from 1
	Status  int    // that the receiver answered; 0 when it did not
	Err     string // why it was no success; empty is a success
	RetryMS int64  // after how long it wants to be asked again; 0 when it does not say
	Final   bool   // it wants none of it, now and later
	NoRoom  bool   // it was not called
	Gone    bool   // there is nothing to be called for any more
	Stays   bool   // there is still, though its end was decided
	Row     []byte // the task, as it was read
}

func (*Hooked) mail() {}
