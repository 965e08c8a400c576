"""The composition: topics, clients and listeners, joined into one gateway. Here alone the edges meet.

Records        pump gives each topic (topics, topic) its turn; tending looks after what becomes of topics; delay, lag
Subscriptions  reading is one that runs, told to its owner; begin finds where it starts (shared: asked once for many);
               chase reads back what no tail has, apart what cannot be read now; blocks, readers; snapshots, scanning
Clients        door lets them in (admission, credentials, presence, dismissed), gate knows who they are, and how long
               (deadlines); client is one on /ws, stream one on /topics, echo one on /echo; away: Kafka cannot be asked
Publishing     publisher is one connection's part, publishing what becomes of all of it
The process    server draws the tree of tasks, notice ends it; reloading, hangup; service (systemd); allocator, garbage
What it tells  parts, counts, loop_delay: numbers; collecting (/metrics), roster (/connections), ready (/readyz); page
"""
