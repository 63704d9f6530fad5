"""Takes objects from the network and makes them durable: admission, negotiation, C-STORE, the ledger row."""
