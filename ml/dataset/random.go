package dataset

import "math/bits"

// pythonRandom is the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998),
// seeded as Python's random.Random seeds it with a whole number.
type pythonRandom struct {
	state [624]uint32
	next  int // of state; all are used up at its length
}

func newPythonRandom(seed uint64) *pythonRandom {
	key := []uint32{uint32(seed)}
	if high := uint32(seed >> 32); high != 0 {
		key = append(key, high)
	}
	return newTwister(key)
}

// newTwister seeds with a key of any length: init_by_array of the reference.
func newTwister(key []uint32) *pythonRandom {
	r := &pythonRandom{next: 624}
	r.state[0] = 19650218
	for i := 1; i < 624; i++ {
		r.state[i] = 1812433253*(r.state[i-1]^r.state[i-1]>>30) + uint32(i)
	}
	i, j := 1, 0
	step := func() {
		if i++; i == 624 {
			r.state[0], i = r.state[623], 1
		}
	}
	for range max(624, len(key)) {
		r.state[i] = (r.state[i] ^ (r.state[i-1]^r.state[i-1]>>30)*1664525) + key[j] + uint32(j)
		j = (j + 1) % len(key)
		step()
	}
	for range 623 {
		r.state[i] = (r.state[i] ^ (r.state[i-1]^r.state[i-1]>>30)*1566083941) - uint32(i)
		step()
	}
	r.state[0] = 1 << 31
	return r
}

// uint32 returns the next 32 bits.
func (r *pythonRandom) uint32() uint32 {
	if r.next == 624 {
		for i := range r.state {
			y := r.state[i]&0x80000000 | r.state[(i+1)%624]&0x7fffffff
			r.state[i] = r.state[(i+397)%624] ^ y>>1 ^ y&1*0x9908b0df
		}
		r.next = 0
	}
	y := r.state[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// below returns a number from 0 to n-1, n at most 2³²-1: as many bits as n has,
// drawn until they are fewer, as Python's _randbelow.
func (r *pythonRandom) below(n uint32) uint32 {
	for {
		if v := r.uint32() >> (32 - bits.Len32(n)); v < n {
			return v
		}
	}
}

// shuffle changes the order of n things as Python's shuffle does.
func (r *pythonRandom) shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, int(r.below(uint32(i+1))))
	}
}
