"""From a bundle to OpenAPI 3.1 documents, and from two documents to what differs.

words     which digests of enumerations can be read, and as what
schema    what is normal for a parameter -> its JSON schema
body      the parameters of a body -> one JSON schema
media     content types -> the media types that can be read
request_body  the bodies of an endpoint -> what was sent, by media type
security  credentials -> security schemes
document  a workload's model and description -> its document
text      a document -> YAML or JSON, the same one the same bytes
contract  anybody's document -> what it says of each endpoint, in one form
conflict  what is seen and what is documented of one value -> contradictions
diff      two contracts of ours -> what is new, gone and changed
against   ours and the user's -> undocumented, unused, deprecated but used, contradicting
export    from a bundle's place to files and comparisons: what the command does
report    comparisons -> text or JSON
"""
