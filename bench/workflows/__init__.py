"""bench.workflows: seeded traffic of whole sessions with labelled abuse of the workflow, and what is caught of it.

    session     one client's calls: tabs with clocks of their own, retries, lost answers, reloads, the back button
    shop        a shop: guests and accounts, a basket, a checkout with coupons, payments, orders, returns, refunds
    bank        a bank: two factors, payees, transfers in three steps, cards; nothing in common with the shop, to check that what
                works there isn't tuned to it
    tracker     an issue tracker: free navigation with few rules, codes and tokens, phones that send in batches
    booking     a booking site: holds that expire, optional steps, payment by redirect; looked at for the result alone
    traffic     sessions spread over time as rows of the `calls` shape, in splits, each of its own seed
    measure     the trainer and the server's decision on them: sessions caught, sessions alarmed, what it costs
    run         the command: tables, JSON, or the calls as files

Labels: each row has `label` (1: the call is part of the abuse) and `attack` (its kind), and beside the `calls` shape
`session_attack`, the kind of abuse in its session or null. In an abuse session only the calls that do what the workflow forbids
are labelled; what comes before them is as benign as anybody's. What a service would refuse has the status that it refuses it
with; the abuse itself succeeds, because services that stop it need no guard.

Values (words, amounts, codes) are dull on purpose: what alarms is to be the order of calls.

What is assumed, and where life is harder: front ends notice for themselves that a session is over (they ask, get 401, and log in
again), so no honest client sends a changing call of an expired session; a session has one checkout, or transfer, at a time, while
other tabs browse; one repeated call is what a retry looks like when its first answer got lost, so who replays, does so twice or
more.
"""
