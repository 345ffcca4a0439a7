mod guest;
