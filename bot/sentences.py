"""What members are told in more than one place, or apart from the code: whole sentences with placeholders.

All of them are for `tr`, and every language's catalogue has them.
"""

# Numbers of things: of one, and of more or none.
PICTURES = ("{count} picture", "{count} pictures")
MESSAGES = ("{count} message", "{count} messages")
THREADS = ("{count} thread", "{count} threads")
SESSIONS = ("{count} session", "{count} sessions")
STEPS = ("{count} step", "{count} steps")
FILES = ("{count} file", "{count} files")
MEMBERS = ("{count} other member", "{count} other members")

QUEUED = "{title} is in the queue."
TWICE = "You have asked for that just now; it is in the queue."
NOT_YOURS = "Here only who asked for the picture can go on with it."
NO_PICTURE = "That step has no picture; use it on a picture."
NOT_OURS = "That is none of my pictures; use it on one that I posted in its thread."
BROKEN = "Something broke that should not have; the log says more under {number}."
UNREACHABLE = "Discord did not take that; please try again in a moment."

WHICH = "Which object do you want to change?"
ALL_KEPT = "All objects of this picture are kept as they are; release one first (🔒)."
NO_SUCH_OBJECT = "There is no object {number} in this picture any more."
KEPT_OBJECT = "Object {number} ({name}) is kept as it is; release it first (🔒)."
TWEAKED = "Object {number} will be repainted: {title} is in the queue."

CHOOSE_KEPT = "Choose what stays untouched in all that is made from this picture from now on."
KEPT = "Kept from here on: {names}."
NOTHING_KEPT = "Nothing is kept from here on."

WENT_BACK = "↩️ <@{user}> went back to this picture. What came after it stays where it is."
BRANCHED = "🌿 <@{user}> goes on from this picture."
UNDONE = "Undone: the current picture is {picture}."
CANCELLED = "What waited or was being painted below it ({count}) is cancelled."
UNDONE_BY = "Undone by <@{user}>."
UNDONE_ALREADY = "That is undone already: the current picture is {picture}."
BRANCH_BEGUN = "The current picture is {picture}: what you do below it grows as a branch."
BRANCHED_ALREADY = "That is the current picture already: {picture}."

OUTLINES = "What was found in {picture}, numbered."
PLAIN = "{picture}, without outlines."
BEFORE = "The picture before: {picture}."

ONE_PICTURE = "There is only one picture so far; an animation needs two."
TOO_LONG_FILM = "The animation of {count} pictures is too large for this channel."
FILM = "All {count} pictures from the first to this one."

NO_GALLERY_HERE = "A gallery belongs to a server; here there is none."
NO_GALLERY = (
    "This server has no gallery channel yet; someone who manages the server can choose one with /settings."
)
GALLERY_LACKS = (
    "I cannot post in <#{channel}>: I need View Channel, Send Messages, Embed Links, Attach Files and "
    "Read Message History there."
)
GALLERY_TAME = "This picture is from an age-restricted channel and the gallery <#{channel}> is not one."
IN_GALLERY = "It is in the gallery now: {link}"
IN_GALLERY_ALREADY = "It is in the gallery already: {link}"

SENT = "I sent you a copy."
DMS_CLOSED = (
    "I cannot write to you: your DMs are closed to me. Allow messages from members of this server in its "
    "privacy settings, then try again."
)

NOT_YOURS_TO_DELETE = (
    "Only who asked for this picture, or a moderator (Manage Messages), can delete it, "
    "and where others went on from it only who began the session."
)
DELETE_ONE = "Delete {picture}? It cannot be brought back."
DELETE_MORE = "Delete {picture} and all that was made from it ({count} more)? It cannot be brought back."
DELETED = "Deleted: pictures and steps {pictures}, messages {messages}."

# Why something is still there after a deletion.
OTHERS_WROTE = "the thread stays, for others wrote in it"
MUCH_WRITTEN = "the thread stays, for much is written in it"
NO_THREADS = "the thread stays, for I lack Manage Threads"
NO_MESSAGES = "I may not delete messages there any more"
LOCKED = "the thread is archived and locked"
NOT_CHANGED = "a message of mine that names you could not be changed"
SESSIONS_KEPT = "sessions are kept, for Discord did not answer: delete again in a minute"
