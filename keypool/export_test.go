package keypool

// PoolOf is the pool that a key belongs to.
func PoolOf(k *Key) *Pool { return k.slot.pool }
