package level

import "slices"

// shanghai is the hours by which the platforms count: 08:00 to 23:00, every day.
func shanghai() Hours {
	return Hours{Zone: "Asia/Shanghai", Weekly: []Weekly{{From: "08:00", To: "23:00"}}}
}

// Presets are the reply rates of platforms, as their help pages and those of resellers tell them. Where sources disagree there
// are several. They are a beginning: platforms change them, and a definition may replace every field.
func Presets() []Definition {
	return []Definition{
		// Taobao, the human reply rate within three minutes: turns that a human answered within three minutes, of all turns
		// that began between 08:00 and 23:00. A turn goes from the customer's first message to the first valid reply. A bot in
		// assist mode is valid, a fully automatic one is neither in the numerator nor in the denominator. Advertisements and red
		// packets are none. A transfer without reply is an unanswered turn of the first account, and a new one of the next.
		{
			Name: "taobao", Clock: EveryResponse, Unit: Turn, LimitMS: 180_000, Count: []string{"human", "assist"}, FullAuto: Skip,
			Transfer: Miss, Hours: shanghai(), Ignore: []string{"ad", "red_packet"},
		},
		// Wangwang, the mean human reply time: the sum of reply times by turns, each capped at 600 s, no reply counted as 600 s.
		{
			Name: "wangwang", Clock: EveryResponse, Unit: Turn, LimitMS: 180_000, CapMS: 600_000, Count: []string{"human", "assist"},
			FullAuto: Skip, Transfer: Miss, Hours: shanghai(), Ignore: []string{"ad", "red_packet"},
		},
		// Feige, of Douyin's shops: messages that a human replied to within three minutes, of all messages, 08:00 to 23:00.
		{
			Name: "feige", Clock: EveryResponse, Unit: Message, LimitMS: 180_000, Count: []string{"human", "assist"}, FullAuto: Skip,
			Hours: shanghai(),
		},
		// Pinduoduo as most tell it: a human within three minutes, 08:00 to 23:00, bots left out. The source does not say of
		// what: turns are assumed. 95 % is what shops hold themselves to.
		{
			Name: "pdd-3min", Clock: EveryResponse, Unit: Turn, LimitMS: 180_000, Target: 0.95, Count: []string{"human", "assist"},
			FullAuto: Skip, Hours: shanghai(),
		},
		// Pinduoduo as told in 2026: five minutes, and 85 % of them.
		{
			Name: "pdd-5min", Clock: EveryResponse, Unit: Turn, LimitMS: 300_000, Target: 0.85, Count: []string{"human", "assist"},
			FullAuto: Skip, Hours: shanghai(),
		},
		// Pinduoduo as told in 2019: customers of a day; one whom any message was left unanswered, or for more than an hour, is
		// an invalid one.
		{
			Name: "pdd-day", Clock: EveryResponse, Unit: Day, LimitMS: 3_600_000, Count: []string{"human", "assist"}, FullAuto: Skip,
			Hours: shanghai(),
		},
	}
}

// Preset returns a preset by its name.
func Preset(name string) (Definition, bool) {
	for _, d := range Presets() {
		if d.Name == name {
			return d, true
		}
	}
	return Definition{}, false
}

// PresetNames returns the names of all presets, in order.
func PresetNames() []string {
	var names []string
	for _, d := range Presets() {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return names
}
