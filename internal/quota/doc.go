// Package quota counts what the clients of the gateway use and says when one of them has used all that it may. A request that is let in reserves
// what it is expected to use, until its record says what it did use. It does no I/O; the clock is handed in.
package quota
