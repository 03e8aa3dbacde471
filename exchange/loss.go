package exchange

// Lost notes that mail from another node to connections of this one may not have arrived: it is missing, its way was cut, or there was none yet. Whoever sent it
// does not know, and says it again only to who asks: so connections ask when Losses has grown. It counts as a change.
func (x *Exchange) Lost() {
	x.losses.Add(1)
	x.change()
}

// Losses counts the calls of Lost.
func (x *Exchange) Losses() uint64 { return x.losses.Load() }
