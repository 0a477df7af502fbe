// Package ledger makes records of Envoy's access log. Envoy tells of a request once it is over, and of each of its attempts: in any order, some
// of it late or never. What belongs to one request of a client is joined by its id and handed on as one record. Nothing here stands in a
// request's way, and a peer that lies costs no more than its bytes.
package ledger
