package keypool

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
)

// Choose is how a pool chooses among the keys that are usable.
type Choose struct {
	By By // Order

	// StayFor is how long a conversation that had to leave its key, and was served by another one, stays with that one after each success: the
	// provider's cache of its prompt is warm there. With By Spread only. 0 takes the default, an hour; Never: it goes back at once.
	StayFor time.Duration
}

// By is what decides between usable keys of one tier.
type By uint8

const (
	// Order takes the first key in order of priority.
	Order By = iota
	// Spread takes, for each conversation, the key that weighted rendezvous hashing ranks first for it (Thaler and Ravishankar, "Using
	// Name-Based Mappings to Increase Hit Rates", 1998): conversations spread over the keys by their weights, each stays with its key, and a key
	// that rests hands on just its own. It is the same in all processes with the same Config.Secret.
	Spread
)

var byNames = [...]string{"order", "spread"}

// String returns "order" or "spread".
func (b By) String() string { return nameOf(byNames[:], b) }

// Bounds of a key's place in the choice.
const (
	MaxTier   = 9
	MaxWeight = 1000
)

const (
	nearest    = 8  // how many of a bucket's ranking are kept; what follows is worked out when it is needed
	bucketBits = 13 // 8,192 buckets, however many keys there are, so that a key more moves only what it gets. Enough for some hundreds of keys
)

// complete checks c and fills in what it leaves open.
func (c Choose) complete(found *setting.Problems) Choose {
	if int(c.By) >= len(byNames) {
		found.Add("by", "%d; order or spread", c.By)
	}
	switch c.StayFor {
	case 0:
		c.StayFor = Defaults().Choose.StayFor
	case Never:
	default:
		setting.Range(found, "stay_for", c.StayFor, time.Second, LongestTime, setting.Duration)
	}
	return c
}

// checkPlace notes what is wrong with a key's tier and weight, and fills in the weight.
func (k KeyConfig) checkPlace(at string, found *setting.Problems) KeyConfig {
	if k.Tier < 0 || k.Tier > MaxTier {
		found.Add(setting.Within(at, "tier"), "%d; from 0 to %d", k.Tier, MaxTier)
	}
	if k.Weight == 0 {
		k.Weight = 1
	}
	if k.Weight < 1 || k.Weight > MaxWeight {
		found.Add(setting.Within(at, "weight"), "%d; from 1 to %d", k.Weight, MaxWeight)
	}
	return k
}

// ranking is the order in which a roster's keys are asked for a conversation: tier by tier, and within a tier by its rendezvous.
type ranking struct {
	tiers []tier
	fixed []uint32 // with Order, that of every conversation: places in the roster; nil with Spread
}

// tier are the keys of one tier. Conversations fall into buckets, and all of a bucket have one ranking.
type tier struct {
	members []member
	kept    int      // how many of each ranking are kept
	first   []uint32 // the first kept of each bucket's ranking: places in members
}

type member struct {
	entry  uint32 // its place in the roster
	seed   uint64
	weight float64
}

// rankKeys makes the ranking of a roster's entries.
func rankKeys(by By, entries []entry, keys []KeyConfig) *ranking {
	r := &ranking{}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return keys[a].Tier - keys[b].Tier })
	for n, i := range order {
		if n == 0 || keys[i].Tier != keys[order[n-1]].Tier {
			r.tiers = append(r.tiers, tier{})
		}
		t := &r.tiers[len(r.tiers)-1]
		t.members = append(t.members, member{entry: uint32(i), seed: seedOf(entries[i].id), weight: float64(keys[i].Weight)})
	}
	if by == Spread {
		for i := range r.tiers {
			r.tiers[i].prepare()
		}
		return r
	}
	r.fixed = make([]uint32, len(order))
	for n, i := range order {
		r.fixed[n] = uint32(i)
	}
	return r
}

// seedOf is a fingerprint as a number.
func seedOf(id string) uint64 {
	n, _ := strconv.ParseUint(id, 16, 64) // 16 hexadecimal digits
	return n
}

// prepare ranks the keys for every bucket.
func (t *tier) prepare() {
	t.kept = min(nearest, len(t.members))
	t.first = make([]uint32, 0, t.kept<<bucketBits)
	for b := range uint64(1) << bucketBits {
		t.first = t.appendNearest(t.first, b)
	}
}

// appendNearest appends the places of the kept first members in the order of a bucket.
func (t *tier) appendNearest(dst []uint32, bucket uint64) []uint32 {
	var distance [nearest]float64
	n := 0
	for i := range t.members {
		d := t.members[i].distance(bucket)
		if n == t.kept && d >= distance[n-1] { //nolint:gosec // n is from 1 to nearest then
			continue
		}
		if n < t.kept {
			dst, n = append(dst, 0), n+1
		}
		list, j := dst[len(dst)-n:], n-1
		for ; j > 0 && d < distance[j-1]; j-- {
			distance[j], list[j] = distance[j-1], list[j-1]
		}
		distance[j], list[j] = d, uint32(i)
	}
	return dst
}

// rankAll returns the places of all members in the order of a bucket.
func (t *tier) rankAll(bucket uint64) []uint32 {
	places, distance := make([]uint32, len(t.members)), make([]float64, len(t.members))
	for i := range t.members {
		places[i], distance[i] = uint32(i), t.members[i].distance(bucket)
	}
	slices.SortStableFunc(places, func(a, b uint32) int { return cmp.Compare(distance[a], distance[b]) })
	return places
}

// distance is how far a member is from a bucket: exponentially distributed, with the weight as its rate, so that the nearest member is each one
// as often as its weight says.
func (m *member) distance(bucket uint64) float64 {
	u := (float64(mix(m.seed^mix(bucket+1))>>11) + 0.5) / (1 << 53) // between 0 and 1, neither of them
	return -math.Log(u) / m.weight
}

// mix is the finalizer of MurmurHash3 (Appleby): every bit of x changes half of the result's.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// bucket is where a conversation's requests fall.
func bucket(conversation uint64) uint64 { return mix(conversation) >> (64 - bucketBits) }

// at is the place in the roster of the n-th key for a walker's conversation. It is small enough to be inlined.
func (r *ranking) at(w *Walker, n int) int {
	if n < len(r.fixed) {
		return int(r.fixed[n])
	}
	return r.spreadAt(w, n)
}

func (r *ranking) spreadAt(w *Walker, n int) int {
	for i := range r.tiers {
		t := &r.tiers[i]
		switch {
		case n >= len(t.members):
			n -= len(t.members)
		case n < t.kept:
			return int(t.members[t.first[int(bucket(w.conversation))*t.kept+n]].entry)
		default:
			if w.ranked == nil || w.rankedTier != i {
				w.ranked, w.rankedTier = t.rankAll(bucket(w.conversation)), i
			}
			return int(t.members[w.ranked[n]].entry)
		}
	}
	return 0
}
