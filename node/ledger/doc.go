// Package ledger keeps the accounts: what every agent has used, ever.
package ledger
