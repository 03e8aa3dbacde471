package scenario

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Dist is a distribution: lognormal around its median, fixed when Sigma is 0, exponential, or a shipped profile of what
// people do.
type Dist struct {
	// Median of the values. With Profile or Exponential it must be absent.
	Median Quantity `yaml:"median,omitempty"`
	// Exponential is the mean of values without memory: how long people are willing to wait, or what textbooks calculate with.
	Exponential Quantity `yaml:"exponential,omitempty"`
	// Sigma is the deviation of the logarithm: 0.7 is usual for people. 0 makes every value the median.
	Sigma float64 `yaml:"sigma,omitempty"`
	// Min and Max bound the values; 0 is no bound.
	Min Quantity `yaml:"min,omitempty"`
	Max Quantity `yaml:"max,omitempty"`
	// Profile is the name of a shipped one; see [Profiles].
	Profile string `yaml:"profile,omitempty"`
}

// profile is the quantiles of something.
type profile struct {
	unit Unit
	at   [len(quantiles)]float64
}

// quantiles are where the profiles have their points.
var quantiles = [...]float64{0, .01, .05, .10, .20, .30, .40, .50, .60, .70, .80, .90, .95, .99, .999}

// profiles are what was counted in public collections of customer service dialogues: aggregates only.
var profiles = map[string]*profile{
	"customer_think":    {Time, [...]float64{0, 3, 5, 7, 10, 13, 16, 19, 23, 28, 35, 47, 60, 99, 198}},
	"agent_reply":       {Time, [...]float64{0, 5, 7, 9, 11, 14, 17, 21, 25, 31, 41, 57, 76, 132, 244}},
	"customer_length":   {Bytes, [...]float64{1, 1, 2, 2, 3, 5, 7, 9, 12, 17, 23, 33, 45, 81, 160}},
	"agent_length":      {Bytes, [...]float64{1, 2, 4, 7, 11, 14, 17, 20, 25, 32, 41, 62, 80, 117, 174}},
	"agent_messages":    {None, [...]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 5}},
	"customer_messages": {None, [...]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 5, 8}},
	"customer_turns":    {None, [...]float64{2, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 10, 11, 15, 24}},
}

// Profiles returns the names of the shipped profiles: think and reply times in seconds, lengths in characters, the
// messages that a customer writes in a conversation, where those in a row are one, and in how many messages in a row either party would say it: the
// sentences of one.
func Profiles() []string { return slices.Sorted(maps.Keys(profiles)) }

// IsZero tells whether nothing was said.
func (d *Dist) IsZero() bool {
	return d.Median.IsZero() && d.Exponential.IsZero() && d.Sigma == 0 && d.Profile == "" && d.Min.IsZero() && d.Max.IsZero()
}

// Zeros tells whether something was said, and all of it is zero. [Dist.IsZero] takes that for nothing, so that a default would
// take its place: who has a default refuses it.
func (d *Dist) Zeros() bool {
	return d.IsZero() && (d.Median.Zero() || d.Exponential.Zero() || d.Min.Zero() || d.Max.Zero())
}

func (d *Dist) check(u Unit) error {
	if d.Profile != "" {
		p, ok := profiles[d.Profile]
		switch {
		case !ok:
			return fmt.Errorf("there is no profile %q: they are %s", d.Profile, strings.Join(Profiles(), ", "))
		case p.unit != u:
			return fmt.Errorf("profile %s does not count %s", d.Profile, u)
		case !d.Median.IsZero() || d.Sigma != 0 || !d.Exponential.IsZero():
			return errors.New("profile excludes median, sigma and exponential")
		}
		return nil
	}
	switch {
	case !d.Exponential.IsZero() && (!d.Median.IsZero() || d.Sigma != 0):
		return errors.New("exponential excludes median and sigma")
	case d.Sigma < 0 || d.Sigma > 5 || d.Sigma != d.Sigma:
		return fmt.Errorf("sigma is %v: it must be 0 to 5", d.Sigma)
	case d.Max.Value > 0 && d.Min.Value > d.Max.Value:
		return errors.New("min is above max")
	}
	return nil
}

// profile returns the one that is named, or nil.
func (d *Dist) profile() *profile {
	if d.Profile == "" {
		return nil
	}
	return profiles[d.Profile]
}

// Quantile returns the value below which a share p of all are; p is in (0, 1).
func (d *Dist) Quantile(p float64) (v float64) {
	if pr := d.profile(); pr != nil {
		at, i := &pr.at, 0
		for i < len(quantiles) && quantiles[i] < p {
			i++
		}
		switch i {
		case len(quantiles):
			v = at[i-1]
		case 0:
			v = at[0]
		default:
			share := (p - quantiles[i-1]) / (quantiles[i] - quantiles[i-1])
			v = at[i-1] + share*(at[i]-at[i-1])
		}
	} else if d.Exponential.Value > 0 {
		v = -d.Exponential.Value * math.Log1p(-p)
	} else {
		v = d.Median.Value
		if d.Sigma > 0 {
			v *= math.Exp(d.Sigma * math.Sqrt2 * math.Erfinv(2*p-1))
		}
	}
	if d.Max.Value > 0 {
		v = min(v, d.Max.Value)
	}
	return max(v, d.Min.Value)
}

// Mean is the mean of 1,000 equally likely values.
func (d *Dist) Mean() float64 {
	sum := 0.0
	for i := range 1000 {
		sum += d.Quantile((float64(i) + .5) / 1000)
	}
	return sum / 1000
}
