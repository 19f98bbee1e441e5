"""The demo market: a simulation that says so.

Seeded bots open accounts, take play money from the demo faucet and trade by signed
orders over gRPC, exactly as anyone else would. Nothing in the node knows them.
"""
