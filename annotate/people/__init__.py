"""Who is here: members, invitations, sign-in, tokens, AI annotators as members."""
